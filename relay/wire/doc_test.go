package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/wire/codec"
	"github.com/credant/credant/integration/published"
)

// A second implementer finds every size, label, code, reason and field in
// docs/relay.md.
func TestFormatIsDocumented(t *testing.T) {
	page := published.ReadPage(t, "../..", "relay.md")
	doc := page.Text
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
		if row := page.Row(fmt.Sprintf("| 0x%02x | %v |", uint8(kind), kind)); !strings.HasSuffix(row, "| "+size+" |\n") {
			t.Errorf("docs/relay.md has no row of kind %v with size %s", kind, size)
		}
	}
	for code := CodeCookie; int(code) < len(codeNames); code++ {
		if page.Row(fmt.Sprintf("| %d | %v | ", uint8(code), code)) == "" {
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
		page.Keys(t, section, v)
	}
}
