package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/credant/credant/"

// pure subpackages do no I/O: they are the vocabulary that rooms share.
var pure = []string{"discovery/keys", "discovery/wire", "discovery/wire/codec", "natpunch/demux", "relay/wire", "wgsetup/swap", "dns/zone"}

// anyTest are what any test may import: how it says that it cannot run, and how it is held to what is published.
var anyTest = []string{"integration/strict", "integration/published"}

// law is what a room may import besides itself and the pure subpackages. Whatever is not named here may import
// nothing of ours but those.
var law = map[string][]string{
	"control":        {"control/names", "discovery", "natpunch", "wgsetup", "relay", "dns"},
	"cmd":            {"control", "deploy"},
	"integration":    {"control", "discovery", "natpunch", "wgsetup", "relay", "dns"},
	"discovery":      {},
	"natpunch":       {},
	"wgsetup":        {},
	"relay":          {},
	"dns":            {},
	"deploy":         {},
	"control/names":  {},
	"control/relayd": {"relay", "discovery"},

	"cmd/credant-relay": {"cmd", "control/relayd"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// The rooms know of each other only what the design says, so that each can be read, and replaced, alone.
func TestImportLaw(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, p := range packages {
		from := strings.TrimPrefix(p.ImportPath, module)
		tests := slices.DeleteFunc(slices.Concat(p.TestImports, p.XTestImports), func(path string) bool {
			return slices.Contains(anyTest, strings.TrimPrefix(path, module))
		})
		for _, imported := range slices.Concat(p.Imports, tests) {
			if to, ours := strings.CutPrefix(imported, module); ours && !mayImport(from, to) {
				t.Errorf("%s imports %s: a room may import itself, %s, and what the law in this test names",
					from, to, strings.Join(pure, ", "))
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"discovery/mainline", "discovery", true},
		{"discovery/mainline", "natpunch/demux", true},
		{"discovery/mainline", "natpunch", false},
		{"natpunch", "discovery/wire", true},
		{"natpunch", "discovery", false},
		{"natpunch", "discovery/lan", false},
		{"wgsetup", "control", false},
		{"control", "wgsetup/sideport", true},
		{"control/relayd", "relay/server", true},
		{"control/relayd", "discovery/mainline", true},
		{"control/relayd", "control", false},
		{"control/relayd", "natpunch", false},
		{"cmd/credant-relay", "control/relayd", true},
		{"cmd/credant-relay", "cmd/internal/cli", true},
		{"cmd/credant-relay", "control", false},
		{"cmd/credant-relay", "relay", false},
		{"cmd/credant", "control/localapi", true},
		{"cmd/credant", "discovery/keys", true},
		{"cmd/credant", "discovery", false},
		{"control", "cmd/credant", false},
		{"discovery", "integration/strict", false},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("%s imports %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func mayImport(from, to string) bool {
	if slices.Contains(pure, to) {
		return true
	}
	room := roomOf(from)
	return roomOf(to) == room || slices.Contains(law[room], roomOf(to))
}

// roomOf is the longest entry of the law that a package is in, else its first folder.
func roomOf(path string) string {
	for room := path; ; {
		if _, ok := law[room]; ok {
			return room
		}
		i := strings.LastIndexByte(room, '/')
		if i < 0 {
			return room
		}
		room = room[:i]
	}
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("read list of packages: %v", err)
		}
		packages = append(packages, p)
	}
}
