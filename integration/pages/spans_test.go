package pages

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	word = regexp.MustCompile(`^[a-z]+$`)
	flag = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)
)

// What a sentence calls a command is one, and has the flags that it is said to have.
func TestSpans(t *testing.T) {
	helps := map[string]string{}
	help := func(program string, command []string) (string, bool) {
		key := program + " " + strings.Join(command, " ")
		if text, known := helps[key]; known {
			return text, text != ""
		}
		out, err := exec.Command(filepath.Join(programs, program), append(slices.Clone(command), "--help")...).CombinedOutput()
		// For a word that is no command, help is that of the command above, whose usage does not have the word.
		usage := strings.Join(append([]string{program}, command...), " ")
		if err != nil || !strings.Contains(string(out), usage+" ") && !strings.Contains(string(out), usage+"\n") {
			out = nil
		}
		helps[key] = string(out)
		return helps[key], len(out) > 0
	}
	for _, p := range readPages(t) {
		for _, s := range p.spans {
			words := strings.Fields(strings.TrimPrefix(s, "sudo "))
			if len(words) < 2 || words[0] != "credant" && words[0] != "credant-relay" || !word.MatchString(words[1]) && !flag.MatchString(words[1]) {
				continue
			}
			var command []string
			for _, w := range words[1:] {
				if !word.MatchString(w) {
					break
				}
				if _, is := help(words[0], append(slices.Clone(command), w)); !is {
					break
				}
				command = append(command, w)
			}
			text, is := help(words[0], command)
			if !is || len(command) == 0 && word.MatchString(words[1]) {
				t.Errorf("%s: `%s` is no command", p.name, s)
				continue
			}
			for _, w := range words {
				if f := flag.FindString(w); f != "" && !regexp.MustCompile(regexp.QuoteMeta(f)+`\b`).MatchString(text) {
					t.Errorf("%s: `%s`: no flag %s", p.name, s, f)
				}
			}
		}
	}
}
