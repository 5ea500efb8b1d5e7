package keys

import (
	"os"
	"strings"
	"testing"
)

// A second implementer finds every label in docs/wire.md.
func TestLabelsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []string{
		useNetworkID, useRendezvous, useHello, useRecord, useBeacon, usePresharedKey, usePair,
		useCheckWords, usePrefix6, usePrefix4, useNodeID, useAddress4,
	} {
		if want := `"` + label(use) + `"`; !strings.Contains(string(b), want) {
			t.Errorf("docs/wire.md does not say %s", want)
		}
	}
}
