package pages

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/credant/credant/integration/member"
	"github.com/credant/credant/integration/strict"
)

// programs is a folder to look for programs in first.
var programs string

func TestMain(m *testing.M) {
	os.Exit(member.Main(m, func(dir, node, relay string) error {
		programs = filepath.Join(dir, "bin")
		if err := os.Mkdir(programs, 0o755); err != nil {
			return err
		}
		if err := writePrograms(programs, node, relay); err != nil {
			return err
		}
		return writeSamba(programs)
	}))
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
