package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/credant/credant/integration/member"
	"github.com/credant/credant/integration/strict"
)

// programs is a folder to look for programs in first.
var programs string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "credant-pages-")
	if err != nil {
		return 0, fmt.Errorf("make a folder for programs: %w", err)
	}
	defer os.RemoveAll(dir)
	built := filepath.Join(dir, "built")
	programs = filepath.Join(dir, "bin")
	for _, d := range []string{built, programs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return 0, err
		}
	}
	credant, relay, err := member.Programs(built)
	if err != nil {
		return 0, err
	}
	if err := writePrograms(programs, credant, relay); err != nil {
		return 0, err
	}
	if err := writeSamba(programs); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// readPages reads README.md and docs.
func readPages(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	if len(paths) < 5 {
		t.Fatalf("docs has %d pages", len(paths))
	}
	var pages []page
	for _, path := range append([]string{"../../README.md"}, paths...) {
		text, err := os.ReadFile(path)
		must(t, err)
		p, err := parsePage(filepath.Base(path), string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		pages = append(pages, p)
	}
	return pages
}

// Every command of every page does what the page says.
func TestPages(t *testing.T) {
	for _, p := range readPages(t) {
		if len(p.steps) == 0 || p.scene == "machine" { // which TestMachine plays
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(programs, "smbd")); err != nil && needsSamba(p) {
				strict.Skip(t, "package samba is not unpacked: make deps")
			}
			t.Parallel()
			switch p.scene {
			case "homes":
				play(t, p, newScene(t, programs).do)
			default:
				t.Fatalf("%s: no scene is called %q", p.name, p.scene)
			}
		})
	}
}
