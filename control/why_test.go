package control

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/natpunch"
)

// docs/status.md names the code of every reason.
func TestReasonCodesAreDocumented(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	doc := read("../docs/status.md")
	code := regexp.MustCompile(`(?m)^\t[rR]eason\w+\s+= "([a-z0-9-]+)"`)
	for path, least := range map[string]int{"../natpunch/mend.go": 16, "status.go": 4} {
		found := code.FindAllStringSubmatch(read(path), -1)
		if len(found) < least {
			t.Errorf("%s: %d codes, want %d or more", path, len(found), least)
		}
		for _, f := range found {
			if !strings.Contains(doc, "`"+f[1]+"`") {
				t.Errorf("%s of %s is not in docs/status.md", f[1], path)
			}
		}
	}
}

// Whatever is not direct says why, for people and for programs alike.
func TestEveryPathThatIsNotDirectSaysWhy(t *testing.T) {
	m := newWorld(t, 1).host("a", "2.0.0.1:41000", nil).mesh
	for name, tt := range map[string]struct{ path, reason, code string }{
		"new":        {"", "", natpunch.ReasonSearching},
		"path":       {"2.0.0.2:42000", "", reasonSession},
		"silent":     {"2.0.0.2:42000", whySilent, reasonSilent},
		"remembered": {"", whyNotMet, reasonNotMet},
		"lost":       {"", "no answer at any of its addresses", natpunch.ReasonNoAnswer},
	} {
		var p peer
		p.reason = tt.reason
		if tt.path != "" {
			p.path.Addr = netip.MustParseAddrPort(tt.path)
		}
		var out localapi.Peer
		m.sayWhy(&p, &out)
		if out.ReasonCode != tt.code || out.Reason == "" {
			t.Errorf("%s: %q: %q, want %s", name, out.ReasonCode, out.Reason, tt.code)
		}
	}
}
