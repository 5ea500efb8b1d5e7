package wire

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/wire/codec"
)

// A second implementer finds every size, label, code, reason and field in
// docs/relay.md.
func TestFormatIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/relay.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, label := range []string{signChallenge, signMember, signNode, useRequest, useResponse, usePush} {
		if !strings.Contains(doc, `"`+label+`" ‖`) {
			t.Errorf("docs/relay.md does not say %q", label)
		}
	}
	_, dropped, _ := strings.Cut(doc, "\n## What is dropped")
	for _, r := range dropReasons {
		if !strings.Contains(dropped, "`"+r.reason+"`") {
			t.Errorf("docs/relay.md does not say that a frame is dropped for %q", r.reason)
		}
	}
	size := func(least, most int) string {
		if least == most {
			return fmt.Sprint(least)
		}
		return fmt.Sprintf("%d to %d,%03d", least, most/1000, most%1000)
	}
	for kind, size := range map[Kind]string{
		KindAsk: size(AskSize, AskSize), KindChallenge: size(ChallengeSize, ChallengeSize), KindReset: size(ResetSize, ResetSize),
		KindRequest: size(MinRequest, MaxFrame), KindResponse: size(minResponse, MaxFrame), KindPush: size(minResponse, MaxFrame),
	} {
		if row := tableRow(doc, fmt.Sprintf("| 0x%02x | %v |", uint8(kind), kind)); !strings.HasSuffix(row, "| "+size+" |\n") {
			t.Errorf("docs/relay.md has no row of kind %v with size %s", kind, size)
		}
	}
	for code := CodeCookie; int(code) < len(codeNames); code++ {
		if tableRow(doc, fmt.Sprintf("| %d | %v | ", uint8(code), code)) == "" {
			t.Errorf("docs/relay.md has no row of code %v", code)
		}
	}
	for _, n := range []struct {
		what string
		n    int
	}{
		{"up to %d bytes", MaxBlob},
		{"1 to %d node keys", MaxPeers},
		{"at most %d of address", MaxAddrs},
		{"at most %d printable", MaxText},
		{"port (%d if left out)", DefaultPort},
		{"multiple of %d bytes", ladder},
		{"at most %d levels", maxNesting},
		{"and %d items", codec.MaxItems},
		{"zeros, %d", AskSize - headerSize - txSize},
	} {
		if s := fmt.Sprintf(n.what, n.n); !strings.Contains(doc, s) {
			t.Errorf("docs/relay.md does not say %q", s)
		}
	}
	for _, room := range []int{MaxFrame - requestHeadSize - nonceSize - tagSize, MaxFrame - responseHeadSize - nonceSize - tagSize} {
		if s := fmt.Sprintf("%d,%03d", room/1000, room%1000); !strings.Contains(doc, s) {
			t.Errorf("docs/relay.md does not say that %s bytes of plaintext fit", s)
		}
	}
	for section, v := range map[string]any{
		"\n## Requests": requestCBOR{}, "\nThe content": contentCBOR{}, "\n## Responses": responseCBOR{},
		"\nRegistered:": registeredCBOR{}, "\nAllocated:": allocatedCBOR{}, "\nError:": errorCBOR{}, "\n## Pushes": pushCBOR{},
	} {
		_, text, ok := strings.Cut(doc, section)
		if !ok {
			t.Errorf("docs/relay.md has no %q", section)
			continue
		}
		text = firstTable(text)
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			row := tableRow(text, "| "+fieldKey(typ.Field(i))+" | ")
			if row == "" {
				t.Errorf("docs/relay.md has no key %s (%s) under %q", fieldKey(typ.Field(i)), typ.Field(i).Name, strings.TrimSpace(section))
			}
			inner := typ.Field(i).Type
			if inner.Kind() != reflect.Pointer || !strings.Contains(row, "{") {
				continue
			}
			for k := range inner.Elem().NumField() {
				key := fieldKey(inner.Elem().Field(k)) + ": "
				if !strings.Contains(row, "{"+key) && !strings.Contains(row, ", "+key) {
					t.Errorf("docs/relay.md has no key %s in %q", key, row)
				}
			}
		}
		if got := strings.Count(text, "\n") - 2; got != typ.NumField() {
			t.Errorf("docs/relay.md has %d keys under %q, want %d", got, strings.TrimSpace(section), typ.NumField())
		}
	}
}

func fieldKey(f reflect.StructField) string {
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

func tableRow(s, prefix string) string {
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}
