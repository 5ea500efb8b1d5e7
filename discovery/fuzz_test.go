package discovery

import (
	"net/netip"
	"testing"

	"github.com/credant/credant/discovery/wire"
)

// Whatever a stranger sends, and whatever a member seals, it brings about no
// meeting by itself and at most one answer, no longer than itself.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, 1)
	key := networkKey(f, 1)
	asker := w.nodeKey()
	hello, err := wire.SealHello(wire.Hello{
		Step: wire.StepHello, TxA: [16]byte{1}, MaxVersion: 1,
		Signed: signRecord(f, key, asker, [32]byte{1}, 1),
	}, key.HelloKey(), asker)
	if err != nil {
		f.Fatal(err)
	}
	body, err := wire.Open(wire.KindHello, key.HelloKey(), hello)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, hello)
	f.Add(true, body)
	f.Add(false, []byte{0xa1, 1})
	from := netip.MustParseAddrPort(addrA)
	f.Fuzz(func(t *testing.T, sealed bool, b []byte) {
		w := newWorld(t, 1)
		h := w.add(key, addrB)
		h.hint(SourceStatic, from) // so that there is something to answer
		h.sends = nil
		if sealed {
			var err error
			if b, err = wire.Seal(wire.KindHello, key.HelloKey(), b); err != nil {
				return
			}
		}
		reason := h.receive(from, b)
		if len(h.mets)+len(h.twins) != 0 || len(h.sends) > 1 {
			t.Fatalf("%q: %d meetings, %d answers", reason, len(h.mets), len(h.sends))
		}
		if len(h.sends) == 1 && (h.sends[0].size > len(b) || h.sends[0].to != from) {
			t.Fatalf("%d bytes to %v for %d from %v", h.sends[0].size, h.sends[0].to, len(b), from)
		}
		if (reason == "") != (len(h.sends) == 1) {
			t.Fatalf("reason %q with %d answers", reason, len(h.sends))
		}
	})
}
