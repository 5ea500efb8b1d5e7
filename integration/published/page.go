package published

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Page is the text of a page in docs.
type Page struct{ Name, Text string }

// ReadPage reads a page. Tests run in their package's folder, and up says how deep that is: "../..".
func ReadPage(t *testing.T, up, name string) Page {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(up, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return Page{"docs/" + name, string(b)}
}

// Row is the page's first line that begins with prefix, or empty.
func (p Page) Row(prefix string) string { return row(p.Text, prefix) }

func row(s, prefix string) string {
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// Keys holds the first table after section to the keys of v, a struct that is encoded as a CBOR map: a row a key and no
// other, and the keys of an inner map where the row has braces.
func (p Page) Keys(t *testing.T, section string, v any) {
	t.Helper()
	_, text, ok := strings.Cut(p.Text, section)
	section = strings.TrimSpace(section)
	if !ok {
		t.Errorf("%s has no %q", p.Name, section)
		return
	}
	table := firstTable(text)
	typ := reflect.TypeOf(v)
	for f := range typ.Fields() {
		r := row(table, "| "+key(f)+" | ")
		if r == "" {
			t.Errorf("%s has no key %s (%s) under %q", p.Name, key(f), f.Name, section)
		}
		if f.Type.Kind() != reflect.Pointer || !strings.Contains(r, "{") {
			continue
		}
		for inner := range f.Type.Elem().Fields() {
			if k := key(inner) + ": "; !strings.Contains(r, "{"+k) && !strings.Contains(r, ", "+k) {
				t.Errorf("%s has no key %s in %q", p.Name, k, r)
			}
		}
	}
	if got := strings.Count(table, "\n") - 2; got != typ.NumField() {
		t.Errorf("%s has %d keys under %q, want %d", p.Name, got, section, typ.NumField())
	}
}

func key(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
	return key
}

// firstTable is the first Markdown table in s, one line a row.
func firstTable(s string) string {
	var table strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "|") {
			table.WriteString(line)
		} else if table.Len() > 0 {
			break
		}
	}
	return table.String()
}
