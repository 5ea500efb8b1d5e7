// Package published holds what code makes of a format to what is published of it: test vectors that any language can
// read, and the tables of the pages in docs. It is for tests.
package published

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// To publish new vectors after a deliberate change of a format:
//
//	go test ./relay/wire -run TestVectors -update
var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// Hex is a byte string that any language can read.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (b Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Hex) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// Vectors compares what the code made with testdata/vectors.json of the package under test, and returns what is there.
// V is a struct; each of its fields that is a slice must have an element.
func Vectors[V any](t *testing.T, made V, opts ...cmp.Option) V {
	t.Helper()
	path := filepath.Join("testdata", "vectors.json")
	if *update {
		b, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want V
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	// A list that was lost must not pass for one that holds.
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 {
			t.Errorf("%s has no %s", path, v.Type().Field(i).Name)
		}
	}
	if d := cmp.Diff(want, made, opts...); d != "" {
		t.Errorf("vectors (-published +made):\n%s", d)
	}
	return want
}
