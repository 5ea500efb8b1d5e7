package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/credant/credant/integration/published"
)

// A second implementer finds every size, reason and field in docs/wire.md.
func TestFormatIsDocumented(t *testing.T) {
	page := published.ReadPage(t, "../..", "wire.md")
	doc := page.Text
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
		row := page.Row(fmt.Sprintf("| %d | %v | %s", kind, kind, thousands(kind.Size())))
		if !strings.Contains(row, "| "+thousands(kind.MaxBody())+" |") {
			t.Errorf("docs/wire.md has no row of kind %v with size %d and body %d", kind, kind.Size(), kind.MaxBody())
		}
	}
	for section, v := range map[string]any{
		"\nRecord:\n": recordCBOR{}, "\nSigned record": signedCBOR{}, "\nAll four are": signedHelloCBOR{},
		"\nThe content": helloCBOR{}, "\n## Beacons": beaconCBOR{}, "\n## Signals": signalCBOR{},
	} {
		page.Keys(t, section, v)
	}
}
