package pages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// said is a message in the first cell of a row of troubleshooting.md.
var said = regexp.MustCompile("^\\| `([^`]+)` \\|")

// Each message that troubleshooting.md explains is one that a program prints: it is in a string of the source, where the
// page has "..." for what differs.
func TestMessages(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	must(t, err)
	var source []string
	for _, dir := range []string{"cmd", "control", "deploy", "discovery", "dns", "natpunch", "relay", "wgsetup"} {
		source = append(source, literals(t, filepath.Join("../..", dir))...)
	}
	count := 0
	for line := range strings.Lines(string(text)) {
		m := said.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		count++
		if !printed(source, m[1]) {
			t.Errorf("no program says %q any more", m[1])
		}
	}
	if count < 20 {
		t.Errorf("%d messages are explained", count)
	}
}

// printed tells whether one string has all parts of a message, in their order.
func printed(source []string, message string) bool {
	parts := strings.Split(message, "...")
	for _, s := range source {
		at := 0
		for _, part := range parts {
			i := strings.Index(s[at:], part)
			if i < 0 {
				at = -1
				break
			}
			at += i + len(part)
		}
		if at >= 0 {
			return true
		}
	}
	return false
}

// literals are the strings in the Go files below a folder, tests apart; those that are added up are one.
func literals(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			e, is := n.(ast.Expr)
			if !is {
				return true
			}
			s := joined(e)
			if s != "" {
				found = append(found, s)
			}
			return s == ""
		})
		return nil
	}))
	return found
}

// joined is a string, or several that are added; what is no string in a sum counts as nothing.
func joined(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return joined(e.X) + joined(e.Y)
		}
	}
	return ""
}
