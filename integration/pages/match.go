package pages

import (
	"fmt"
	"regexp"
	"strings"
)

// missing compares what a page shows of a command's output with what was printed. It returns the first line shown that
// is not there, or nothing.
func missing(shown []string, printed string) string {
	lines := strings.Split(strings.ReplaceAll(printed, "\r", ""), "\n")
	next, anywhere := 0, false
	for _, s := range shown {
		switch strings.TrimSpace(s) {
		case "":
			continue
		case "...":
			anywhere = true
			continue
		}
		pattern := pattern(s)
		found := false
		for ; next < len(lines) && !found; next++ {
			line := squeeze(lines[next])
			if line == "" {
				continue
			}
			if found = pattern.MatchString(line); !found && !anywhere {
				return fmt.Sprintf("%s\n  where it printed\n    %s", s, lines[next])
			}
		}
		if !found {
			return s
		}
		anywhere = false
	}
	return ""
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// pattern matches a line of a command's output to how a page shows it.
func pattern(shown string) *regexp.Regexp {
	var b strings.Builder
	for i, word := range strings.Fields(shown) {
		if i > 0 {
			b.WriteString(" ?")
		}
		switch {
		case strings.Contains(word, "..."):
			parts := strings.Split(word, "...")
			for i := range parts {
				parts[i] = regexp.QuoteMeta(parts[i])
			}
			b.WriteString(strings.Join(parts, ".*"))
		case strings.ContainsAny(word, "0123456789"), changing[strings.Trim(word, ",.:;()")]:
			b.WriteString(`\S+`)
		default:
			b.WriteString(regexp.QuoteMeta(word))
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}

// changing are words without a digit that differ from run to run all the same: a page shows these ones.
var changing = map[string]bool{
	"canyon": true, "lunar": true, "pretzel": true, // check words
	"eagle-anything-mooned-alabaster-nephew-flypaper": true, // what credant new prints
}
