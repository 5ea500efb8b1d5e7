package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// stranger is a member that is only a record.
func (h *simHost) stranger(i int, change func(*wire.Record)) *peer {
	h.w.t.Helper()
	private, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		h.w.t.Fatal(err)
	}
	node := keys.GenerateNode()
	r := wire.Record{
		Node: node.Public(), WireGuard: private.PublicKey(), Probe: keys.GenerateProbe().Public(),
		Name: fmt.Sprintf("m%d", i), Seq: uint64(h.wallTime().UnixMilli()), Lifetime: recordLifetime, MaxVersion: wire.Version,
		Candidates: []wire.Candidate{{Type: wire.ServerReflexive, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{6, 1, byte(i >> 8), byte(i)}), 20001)}},
		Addresses:  []wire.AddressClaim{{Addr: keys.Address6(h.mesh.prefix6, node.Public()), Settled: true}},
	}
	if change != nil {
		change(&r)
	}
	signed, err := wire.Sign(r, node)
	if err != nil {
		h.w.t.Fatal(err)
	}
	p := h.mesh.learn(h.w.now, h.wallTime(), r, signed, 0, keys.NodePublic{})
	if p == nil {
		h.w.t.Fatalf("record %d is refused: %v", i, h.mesh.drops.snapshot())
	}
	return p
}

func (h *simHost) worksWith(p *peer) {
	p.installed, p.alive, p.met = true, true, true
	p.handshake = h.w.now
	p.path = natpunch.Path{Addr: p.record.Candidates[0].Addr, Kind: natpunch.Direct, RTT: 20 * time.Millisecond}
}

// What one datagram costs a node that has 1,000 peers, all of them direct or all of
// them with an allocation at two relays; and what it costs where that makes it look
// over its relays.
func BenchmarkAdvance(b *testing.B) {
	for _, relayed := range []bool{false, true} {
		w := newWorld(&testing.T{}, 1)
		a := w.host("a", "5.1.1.1:20001", nil)
		if relayed {
			for _, addr := range []string{"5.9.9.9", "5.8.8.8"} {
				a.knows(w.relay(addr))
			}
		}
		for i := range 1000 {
			a.stranger(i, nil)
		}
		w.run(20*time.Second, nil)
		if !relayed {
			for _, p := range a.mesh.peers {
				a.worksWith(p)
			}
		}
		for _, review := range []bool{false, true} {
			b.Run(fmt.Sprintf("peers=1000/relayed=%t/review=%t", relayed, review), func(b *testing.B) {
				b.ReportAllocs()
				now := w.now
				for b.Loop() {
					now = now.Add(time.Microsecond)
					a.mesh.relays.dirty = a.mesh.relays.dirty || review
					a.mesh.advance(now, now)
					a.mesh.next(now)
				}
			})
		}
	}
}
