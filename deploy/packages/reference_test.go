package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The pages of reference say what the programs of this commit say.
func TestReferencesAreFresh(t *testing.T) {
	r := &release{root: "../..", native: filepath.Join(folderOf(t, older), "programs", runtime.GOARCH)}
	pages, err := r.references(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range pages {
		if have, err := os.ReadFile(path); err != nil || string(have) != want {
			t.Errorf("%s is not what the program says of itself: run make docs", path)
		}
	}
}
