package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
)

// BenchmarkSimulation says what gossip costs and how long it takes, in virtual
// time with a round trip of 40 ms: rounds are the most hops that a record took,
// seconds those until all know the same, datagrams and bytes (of UDP payload)
// what a node sends until then, on average.
func BenchmarkSimulation(b *testing.B) {
	for _, n := range sizes {
		for _, c := range []struct {
			event string
			start func(*world)
		}{
			{"news", func(w *world) { w.hosts[w.rng.IntN(n)].publish() }},
			{"join", func(w *world) { w.connect(w.add(), w.hosts[n/2]) }},
			{"join-one-path", func(w *world) {
				contact, joiner := w.hosts[n/2], w.add()
				w.apart = func(x, y *host) bool { return x == joiner && y != contact || y == joiner && x != contact }
				w.connect(joiner, contact)
			}},
			{"heal", func(w *world) { // all meet again within a second
				split(w)
				for _, x := range w.hosts {
					for _, y := range w.hosts[:x.i] {
						w.after(time.Duration(w.rng.Int64N(int64(time.Second))), func() { w.connect(x, y) })
					}
				}
			}},
			{"heal-one-path", func(w *world) {
				split(w)
				w.meets = false
				w.connect(w.hosts[0], w.hosts[1])
			}},
			{"churn-loss-5%", func(w *world) { // n changes in a few seconds
				w.loss = 0.05
				for range n {
					w.churn()
					w.run(30*time.Millisecond, nil)
				}
				w.hosts[0].publish()
			}},
		} {
			b.Run(fmt.Sprintf("nodes=%d/event=%s", n, c.event), func(b *testing.B) {
				w := settled(b, 1, n)
				for b.Loop() {
					w.loss, w.apart, w.meets = 0, nil, true
					w.run(15*time.Minute, nil)
					w.reset()
					c.start(w)
					measure(b, w)
				}
			})
		}
		b.Run(fmt.Sprintf("nodes=%d/event=start", n), func(b *testing.B) {
			for b.Loop() {
				w := newWorld(b, 1)
				w.begin(n)
				measure(b, w)
			}
		})
		b.Run(fmt.Sprintf("nodes=%d/idle", n), func(b *testing.B) {
			w := settled(b, 1, n)
			for b.Loop() {
				w.reset()
				w.run(time.Hour, nil)
				sent := float64(w.sent()) / float64(n) / 60
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(sent, "datagrams/node/min")
				b.ReportMetric(sent*wire.SignalSize, "B/node/min")
			}
		})
	}
}

func measure(b *testing.B, w *world) {
	start := w.now
	if !w.run(time.Minute, w.same) {
		b.Fatal("not the same on all after a minute")
	}
	sent := float64(w.sent()) / float64(len(w.hosts))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(w.rounds()), "rounds")
	b.ReportMetric(w.now.Sub(start).Seconds(), "s")
	b.ReportMetric(sent, "datagrams/node")
	b.ReportMetric(sent*wire.SignalSize, "B/node")
}

// split cuts the network in two for ten minutes in which half of it publishes.
func split(w *world) {
	w.apart = func(x, y *host) bool { return x.i%2 != y.i%2 }
	for _, x := range w.hosts {
		for _, y := range w.hosts {
			if w.apart(x, y) {
				w.disconnect(x, y)
			}
		}
	}
	for i, h := range w.hosts {
		if i%4 < 2 {
			h.publish()
		}
	}
	w.run(10*time.Minute, nil)
	w.apart = nil
	w.reset()
}

// BenchmarkGossip is what one event costs with as many members as there can be.
func BenchmarkGossip(b *testing.B) {
	x := newBox(b, 1, discovery.DefaultMembers-1)
	for _, m := range x.members {
		x.peer(m)
	}
	x.pass(time.Hour)
	g := x.h.g
	sums := append([]uint64(nil), g.set.view(x.w.now).sumsOf(wire.MaxSums)...)
	other := append([]uint64{1}, sums[1:]...)
	page := wire.Digest{Last: wire.LastHash, Entries: g.set.view(x.w.now).entries[:wire.MaxEntries]}
	for _, c := range []struct {
		name string
		do   func(i int)
	}{
		{"news", func(i int) {
			m := x.members[i%len(x.members)]
			m.record.Seq++
			g.set.byHash[wire.HashNode(m.node)].seq = 0
			g.Learned(x.w.now, m.node, x.members[(i+1)%len(x.members)].node)
		}},
		{"same sums", func(i int) { x.digest(x.members[i%len(x.members)], wire.Digest{Sums: sums}) }},
		{"other sums", func(i int) { x.digest(x.members[i%len(x.members)], wire.Digest{Sums: other}) }},
		{"page", func(i int) { x.digest(x.members[i%len(x.members)], page) }},
		{"nothing", func(int) {}},
	} {
		b.Run("event="+c.name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				x.w.now = x.w.now.Add(time.Millisecond)
				c.do(i)
				x.out()
			}
		})
	}
}
