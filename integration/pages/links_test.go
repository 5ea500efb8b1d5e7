package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	block   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	code    = regexp.MustCompile("(?ms)^ *```.*?^ *```|`[^`\n]+`")
)

// Every link inside the documentation leads somewhere.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	for _, page := range append([]string{"../../README.md"}, pages...) {
		text, err := os.ReadFile(page)
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			there, err := os.ReadFile(target)
			if info, gone := os.Stat(target); gone != nil || err != nil && !info.IsDir() {
				t.Errorf("%s links to %s, which is not there", filepath.Base(page), m[1])
				continue
			}
			if anchor != "" && strings.HasSuffix(target, ".md") && !anchors(string(there))[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", filepath.Base(page), m[1], filepath.Base(target))
			}
		}
	}
}

// anchors are what headings of a page are linked by.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
				return r
			}
			return -1
		}, strings.ToLower(h[1]))
		found[name] = true
	}
	return found
}
