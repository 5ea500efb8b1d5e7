package manual

import (
	"strings"
	"unicode"
)

// escape keeps roff from reading a text as requests. Dashes become the ASCII
// ones, so that a command copied from the page works.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// text writes paragraphs, which empty lines part. Lines that begin with a space
// are kept as they are.
func text(b *strings.Builder, s string) {
	for i, paragraph := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, " ") {
			literal(b, unindent(paragraph))
			continue
		}
		if i > 0 {
			b.WriteString(".PP\n")
		}
		for line := range strings.Lines(paragraph) {
			b.WriteString(escape(strings.TrimSpace(line)) + "\n")
		}
	}
}

// literal writes lines as they are.
func literal(b *strings.Builder, s string) {
	b.WriteString(".PP\n.RS 4\n.EX\n")
	for line := range strings.Lines(strings.Trim(s, "\n") + "\n") {
		b.WriteString(escape(strings.TrimRight(line, "\n")) + "\n")
	}
	b.WriteString(".EE\n.RE\n")
}

// unindent takes away the spaces that all lines begin with.
func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	least := -1
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if n := len(line) - len(strings.TrimLeft(line, " ")); least < 0 || n < least {
			least = n
		}
	}
	for i, line := range lines {
		lines[i] = line[min(max(least, 0), len(line)):]
	}
	return strings.Join(lines, "\n")
}

// lower begins a text in lower case, unless its first word is an abbreviation.
func lower(s string) string {
	r := []rune(s)
	if len(r) > 1 && unicode.IsUpper(r[0]) && !unicode.IsUpper(r[1]) {
		r[0] = unicode.ToLower(r[0])
	}
	return string(r)
}

// sentence begins a text in upper case and ends it with a stop.
func sentence(s string) string {
	r := []rune(s)
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r) + "."
}
