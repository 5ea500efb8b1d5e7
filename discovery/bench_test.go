package discovery

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// BenchmarkReceive is what one datagram of each sort costs.
func BenchmarkReceive(b *testing.B) {
	w := newWorld(b, 1)
	x, y := w.add(networkKey(b, 1), addrA), w.add(networkKey(b, 1), addrB)
	var exchange []flight
	w.tap = func(from, to netip.AddrPort, data []byte) {
		exchange = append(exchange, flight{from: from, to: to, data: data})
	}
	x.hint(SourceStatic, y.addr)
	w.run(time.Second, nil)
	forged := slices.Clone(exchange[0].data)
	forged[100] ^= 1
	for _, c := range []struct {
		name string
		data []byte
		to   *host
	}{
		{"forged", forged, y},
		{"hello", exchange[0].data, y},
		{"confirm", exchange[2].data, y},
		{"reply", exchange[1].data, x},
	} {
		b.Run("datagram="+c.name, func(b *testing.B) {
			now := c.to.now().Add(time.Minute)
			for b.Loop() {
				now = now.Add(10 * time.Microsecond)
				c.to.g.seen.hashes = [len(c.to.g.seen.hashes)]uint64{} // else it is a copy
				c.to.g.Receive(now, x.addr, c.data)
				c.to.g.Advance(now)
			}
		})
	}
}
