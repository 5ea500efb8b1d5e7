package wire

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A second implementer finds every size, reason and field in docs/wire.md.
func TestFormatIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, label := range []string{signRecord, signHello, nodeHashLabel, sumLabel} {
		if !strings.Contains(doc, `"`+label+` ‖`) && !strings.Contains(doc, `"`+label+`"`) {
			t.Errorf("docs/wire.md does not say %q", label)
		}
	}
	for _, r := range dropReasons {
		if !strings.Contains(doc, "`"+r.reason+"`") {
			t.Errorf("docs/wire.md does not say that a message is dropped for %q", r.reason)
		}
	}
	thousands := func(n int) string {
		if n < 1000 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	for kind := KindHello; kind <= KindRecord; kind++ {
		row := tableRow(doc, fmt.Sprintf("| %d | %v | %s", kind, kind, thousands(kind.Size())))
		if !strings.Contains(row, "| "+thousands(kind.MaxBody())+" |") {
			t.Errorf("docs/wire.md has no row of kind %v with size %d and body %d", kind, kind.Size(), kind.MaxBody())
		}
	}
	for section, v := range map[string]any{
		"\nRecord:\n": recordCBOR{}, "\nSigned record": signedCBOR{}, "\nAll four are": signedHelloCBOR{},
		"\nThe content": helloCBOR{}, "\n## Beacons": beaconCBOR{}, "\n## Signals": signalCBOR{},
	} {
		_, text, ok := strings.Cut(doc, section)
		if !ok {
			t.Errorf("docs/wire.md has no %q", section)
			continue
		}
		text = firstTable(text)
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("cbor"), ",")
			if tableRow(text, "| "+key+" | ") == "" {
				t.Errorf("docs/wire.md has no key %s (%s) under %q", key, typ.Field(i).Name, strings.TrimSpace(section))
			}
		}
		if got := strings.Count(text, "\n") - 2; got != typ.NumField() {
			t.Errorf("docs/wire.md has %d keys under %q, want %d", got, strings.TrimSpace(section), typ.NumField())
		}
	}
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

func tableRow(s, prefix string) string {
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}
