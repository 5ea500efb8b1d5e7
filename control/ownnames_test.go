package control

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

func TestOwnNames(t *testing.T) {
	dir := t.TempDir()
	if o, err := loadOwnNames(dir, "home"); err != nil || o.Name != "" {
		t.Errorf("at first: %+v, %v", o, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := ownNames{}.renamed("nas")
	var err error
	for i := range wire.MaxAliases {
		if o, err = o.withAlias("nas", fmt.Sprintf("a%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range maxForgotten + 10 {
		o = o.forgetting(keys.GenerateNode().Public(), 7)
	}
	if err := o.save(dir, "home"); err != nil {
		t.Fatal(err)
	}
	got, err := loadOwnNames(dir, "home")
	if err != nil || got.Name != "nas" || len(got.Aliases) != wire.MaxAliases || len(got.Forgotten) != maxForgotten {
		t.Errorf("read back: %+v, %v", got, err)
	}
	for alias, want := range map[string]string{
		"one-more": "at most 8", "nas": "name already", "Git": "1 to 63", "": "1 to 63",
	} {
		if _, err := o.withAlias("nas", alias); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("alias %q: %v, want %q", alias, err, want)
		}
	}
	if _, err := (ownNames{Aliases: []string{strings.Repeat("x", 63), strings.Repeat("y", 63)}}).withAlias("nas", strings.Repeat("z", 63)); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("very long names: %v", err)
	}
	if o, err := o.withAlias("nas", "a3"); err != nil || len(o.Aliases) != wire.MaxAliases {
		t.Errorf("one that is there: %v", err)
	}
	if o := o.renamed("a3"); slices.Contains(o.Aliases, "a3") {
		t.Error("renamed to its own alias, the node has both")
	}
	if _, err := o.withoutAlias("nope"); err == nil {
		t.Error("a name that is not there was taken away")
	}
	path := filepath.Join(dir, "home", ownNamesFile)
	for _, bad := range []string{"", "{", `{"name": "A B"}`, `{"aliases": ["-"]}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadOwnNames(dir, "home"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want an error that names the file", bad, err)
		}
	}
}
