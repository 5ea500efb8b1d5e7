package keys

import (
	"strings"
	"testing"
)

func TestNetworkIDText(t *testing.T) {
	id := NetworkID{1, 2, 3, 31: 0xff}
	for _, s := range []string{id.String(), strings.ToUpper(id.String())} {
		if got, err := ParseNetworkID(s); err != nil || got != id {
			t.Errorf("ParseNetworkID(%q) = %v, %v", s, got, err)
		}
	}
	bad := []string{
		"", "a", id.String() + "a", id.String()[1:], strings.Repeat("1", 52),
		NetworkID{}.String(),
		id.String()[:51] + "r", // the same bytes, the spare bits set
	}
	for _, s := range bad {
		if got, err := ParseNetworkID(s); err == nil {
			t.Errorf("ParseNetworkID(%q) = %v", s, got)
		}
	}
}
