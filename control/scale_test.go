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

func BenchmarkAdvance(b *testing.B) {
	for _, relayed := range []int{0, 1000} {
		b.Run(fmt.Sprintf("peers=1000/relayed=%d", relayed), func(b *testing.B) {
			t := &testing.T{}
			w := newWorld(t, 1)
			r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
			a := w.host("a", "5.1.1.1:20001", nil)
			a.knows(r1)
			a.knows(r2)
			for i := range 1000 {
				p := a.stranger(i, nil)
				if i >= relayed {
					a.worksWith(p)
				}
			}
			began := time.Now()
			w.run(20*time.Second, nil)
			b.Logf("20 s in virtual time: %v; pairs %d %d, homes %d", time.Since(began), len(a.mesh.relays.all[0].pairs), len(a.mesh.relays.all[1].pairs), len(a.mesh.relays.homes()))
			b.ReportAllocs()
			now := w.now
			for b.Loop() {
				now = now.Add(time.Microsecond)
				a.mesh.advance(now, now)
				a.mesh.next(now)
			}
		})
	}
}
