package natpunch

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/credant/credant/discovery/wire"
)

// vectors are testdata/checks.json, which another implementation can read.
type vectors struct {
	Checks []struct {
		Name, Body, Type, ID string
		Number               uint64
		Nominated, Seeking   bool
		Round                bool
		Prefers, Opens       bool
		Observed             netip.AddrPort
		Offer                offer
	}
	RefusedBodies []struct{ Name, Body string } `json:"refused_bodies"`
}

func loadVectors(tb testing.TB) vectors {
	tb.Helper()
	b, err := os.ReadFile("testdata/checks.json")
	if err != nil {
		tb.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		tb.Fatal(err)
	}
	if len(v.Checks) == 0 || len(v.RefusedBodies) == 0 {
		tb.Fatal("no vectors")
	}
	return v
}

var testID = transactionID{0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae}

func TestCheckVectors(t *testing.T) {
	for _, v := range loadVectors(t).Checks {
		t.Run(v.Name, func(t *testing.T) {
			c := check{
				Type: map[string]checkType{"ping": ping, "pong": pong, "punch": punch}[v.Type], Number: v.Number,
				ID: transactionID(unhex(t, v.ID)), Nominated: v.Nominated, Seeking: v.Seeking, Observed: v.Observed, Round: v.Round,
				Prefers: v.Prefers, Opens: v.Opens,
				Offer: v.Offer,
			}
			want := unhex(t, v.Body)
			if got := appendCheck([]byte("x"), c); !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Fatalf("encoded %x, want %x", got, want)
			}
			back, err := parseCheck(want)
			if err != nil || back != c {
				t.Fatalf("parsed %+v, %v; want %+v", back, err, c)
			}
		})
	}
}

func TestParseCheckRefuses(t *testing.T) {
	for _, v := range loadVectors(t).RefusedBodies {
		if c, err := parseCheck(unhex(t, v.Body)); err == nil {
			t.Errorf("%s: parsed %+v", v.Name, c)
		}
	}
}

// A later version may add fields.
func TestUnknownKeysArePassedOver(t *testing.T) {
	got, err := parseCheck(append(unhex(t, "a401010201186383010203034c"), testID[:]...))
	if want := (check{Type: ping, Number: 1, ID: testID}); err != nil || got != want {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

func TestEveryCheckFits(t *testing.T) {
	ab, ba := simPairs(simKey(1), simKey(2), 1)
	c := check{
		Type: ping, Number: 1<<64 - 1, ID: testID, Nominated: true, Seeking: true, Round: true, Prefers: true, Opens: true,
		Observed: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	}
	asks := check{
		Type: ping, Number: 1<<64 - 1, ID: testID, Seeking: true,
		Offer: offer{Kind: 255, Phase: 255, Attempt: 1<<32 - 1, Step: -1 << 15, Next: 1<<16 - 1, Low: 1<<16 - 1, High: 1<<16 - 1},
	}
	if b, err := sealCheck(&ab, asks); err != nil || len(b) != wire.CheckSize || len(appendOffer(nil, asks.Offer)) > maxOffer {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	b, err := sealCheck(&ab, c)
	if err != nil || len(b) != wire.CheckSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := wire.OpenPair(wire.KindCheck, &ba, b); err != nil {
		t.Fatal(err)
	}
}

// What is parsed is written the same again, but for keys that we do not know.
func FuzzParseCheck(f *testing.F) {
	for _, v := range loadVectors(f).Checks {
		f.Add(unhex(f, v.Body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > wire.CheckSize {
			return // no envelope holds more
		}
		c, err := parseCheck(b)
		if err != nil {
			return
		}
		again, err := parseCheck(appendCheck(nil, c))
		if err != nil || again != c {
			t.Fatalf("%x: %+v, and again %+v, %v", b, c, again, err)
		}
	})
}

// Whatever arrives from wherever, the agent stays bounded and answers with
// datagrams of the same size, to where it came from.
func FuzzReceive(f *testing.F) {
	for _, v := range loadVectors(f).Checks {
		f.Add(unhex(f, v.Body), true)
	}
	f.Add([]byte{0xa1, 3}, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		relayed := netip.MustParseAddrPort("198.51.100.101:20000")
		for _, settled := range []bool{false, true} {
			n, a, peer := twoPublic(t)
			ab, ba := simPairs(a.key, peer.key, 1)
			d := b
			if sealed {
				var err error
				if d, err = wire.SealPair(wire.KindCheck, &ba, b, 0); err != nil {
					return
				}
			}
			for _, from := range []netip.AddrPort{addr(peer), relayed} {
				a.agent.RemovePeer(peer.key)
				a.agent.SetPeer(n.now, Peer{Node: peer.key, Pair: ab})
				a.agent.SetRelayed(n.now, peer.key, []Relayed{{Addr: relayed}})
				if settled {
					a.agent.Validated(n.now, peer.key, from, 0)
				}
				drain(a, n)
				reason := a.agent.Receive(n.now, from, d)
				for _, x := range a.agent.Advance(n.now) {
					if s, ok := x.(Send); ok && (reason != "" || len(s.Data) > len(d) || s.To != from) {
						t.Fatalf("%x, dropped %q, and %d bytes to %v", d, reason, len(s.Data), s.To)
					}
				}
				if got := len(a.agent.peers[peer.key].pairs); got > maxReflexive+maxRelayed {
					t.Fatalf("%x: %d pairs", d, got)
				}
			}
		}
	})
}

// drain lets an agent do all that it has to do now.
func drain(a *simNode, n *simnet) {
	for range 100 {
		next, ok := a.agent.Next()
		if !ok || next.After(n.now) {
			return
		}
		a.agent.Advance(n.now)
	}
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func BenchmarkReceive(b *testing.B) {
	ab, ba := simPairs(simKey(1), simKey(2), 1)
	a := NewAgent(AgentConfig{Self: simKey(1)})
	a.SetLocal(epoch, Local{HasIPv4: true})
	a.SetPeer(epoch, Peer{Node: simKey(2), Pair: ab})
	from := netip.MustParseAddrPort("198.51.100.77:7000")
	a.Validated(epoch, simKey(2), from, 0)
	seal := func(n uint64) []byte {
		d, err := sealCheck(&ba, check{Type: ping, Number: n, ID: testID})
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	replay, forged := seal(1), seal(1)
	forged[50] ^= 1
	a.Receive(epoch, from, replay)
	for name, d := range map[string][]byte{"unknown": make([]byte, wire.CheckSize), "forged": forged, "replayed": replay} {
		b.Run("datagram="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Receive(epoch, from, d)
			}
		})
	}
}
