package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// starts are calls that make something run at the same time as the caller.
var starts = []string{"Go", "AfterFunc", "Parallel", "RunParallel", "NewServer", "Serve", "ListenAndServe"}

// The packages of sequential.txt are tested without the race detector, which makes them many times slower and finds
// nothing where nothing runs at the same time: neither they nor their tests nor what they use of ours starts anything.
func TestSequential(t *testing.T) {
	list, err := os.ReadFile("sequential.txt")
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(list))
	if len(packages) < 5 {
		t.Fatalf("sequential.txt names %q", packages)
	}
	seen := map[string]bool{}
	var look func(p string, tests bool) (found []string)
	look = func(p string, tests bool) (found []string) {
		if seen[p] && !tests {
			return nil
		}
		seen[p] = true
		files, err := filepath.Glob(filepath.Join("..", p, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no Go files, %v", p, err)
		}
		for _, file := range files {
			if !tests && strings.HasSuffix(file, "_test.go") {
				continue
			}
			starting, ours := concurrent(t, file, nil)
			found = append(found, starting...)
			for _, used := range ours {
				found = append(found, look(used, false)...)
			}
		}
		return found
	}
	for _, p := range packages {
		for _, found := range look(p, true) {
			t.Errorf("%s: take %s out of integration/sequential.txt, so that it is tested with the race detector", found, p)
		}
	}
}

func TestSequentialFindsWhatStarts(t *testing.T) {
	const source = `package p
import ("sync"; "testing"; "github.com/credant/credant/discovery/lan"; "github.com/credant/credant/integration/strict")
func f(t *testing.T) { go f(t); new(sync.WaitGroup).Go(nil); t.Parallel(); strict.Skip(t, ""); lan.New(lan.Config{}) }`
	if found, ours := concurrent(t, "p.go", source); len(found) != 3 || !slices.Equal(ours, []string{"discovery/lan"}) {
		t.Errorf("found %q, uses %q", found, ours)
	}
}

// concurrent returns where a file starts something, and which packages of ours it uses.
func concurrent(t *testing.T, file string, source any) (found, uses []string) {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range parsed.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if ours, ok := strings.CutPrefix(path, module); ok && !slices.Contains(anyTest, ours) {
			uses = append(uses, ours)
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, set.Position(n.Pos()).String()+" starts a goroutine")
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(starts, s.Sel.Name) {
				found = append(found, set.Position(n.Pos()).String()+" calls "+s.Sel.Name)
			}
		}
		return true
	})
	return found, uses
}
