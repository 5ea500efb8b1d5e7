package service

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// What Install writes begins with this line, after the #! of a script. The sum is
// that of the rest, so that a file which somebody has changed since is told from
// one that an older program wrote.
const markBegin = `# Written by "credant service install", sum `

// marked adds the line.
func marked(text string) string {
	head, rest := shebang(text)
	return head + markBegin + sum(head+rest) + "\n" + rest
}

// ownFile tells whether Install wrote a text and nobody has changed it since.
func ownFile(text string) bool {
	head, rest := shebang(text)
	line, rest, _ := strings.Cut(rest, "\n")
	was, ok := strings.CutPrefix(line, markBegin)
	return ok && was == sum(head+rest)
}

func shebang(text string) (head, rest string) {
	if !strings.HasPrefix(text, "#!") {
		return "", text
	}
	line, rest, _ := strings.Cut(text, "\n")
	return line + "\n", rest
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:8])
}
