package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A page is what the audience reads: 80 columns, with the time on the left of what happens.
type page struct {
	out   io.Writer
	began time.Time
}

const width = 80

func (p *page) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// happens prints one line of the story, continued under itself where it is too long.
func (p *page) happens(who, text string) {
	stamp := fmt.Sprintf("%5.1f s  %-6s", time.Since(p.began).Seconds(), who)
	for _, line := range wrap(text, width-len(stamp)) {
		p.say("%s%s", stamp, line)
		stamp = strings.Repeat(" ", len(stamp))
	}
}

// wrap breaks a text between words; a word that is too long stays whole.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
