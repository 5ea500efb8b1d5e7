package control

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// noteWall is the DHT as far as notes go.
type noteWall map[netip.Addr][]func() (from *simHost, note []byte)

// board lets a host leave and read notes, each look taking two seconds.
func (w noteWall) board(h *simHost) func(noteWants) {
	left := map[netip.Addr]bool{}
	return func(n noteWants) {
		for _, at := range n.leave {
			if !left[at] {
				left[at] = true
				w[at] = append(w[at], func() (*simHost, []byte) { return h, h.mesh.blob })
			}
		}
		for _, at := range n.look {
			h.w.after(2*time.Second, func() {
				for _, note := range w[at] {
					if from, b := note(); from != h {
						h.mesh.noted(h.w.now, h.wallTime(), b)
					}
				}
				h.step()
			})
		}
	}
}

// withNotes gives the hosts the DHT's view of their address and the notes there.
func withNotes(hosts ...*simHost) {
	wall := noteWall{}
	for _, h := range hosts {
		h.board = wall.board(h)
		if !h.nat.dependent {
			h.mesh.located(h.w.now, h.public(), false)
		}
		for i := range 3 {
			by := netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, 9, byte(i)}), 6881)
			h.mesh.seenBy(h.w.now, by, h.nat.out(h, by, h.w.now))
		}
	}
}

// Two that see nothing of each other but addresses in the DHT, where neither answers,
// learn of each other by notes, and then check at the same moments.
func TestNotesWhereNobodyAnswers(t *testing.T) {
	// Each gives up for longer and longer, at a time of its own, so that now and
	// then two do not come together within the minute that is watched.
	const worlds, atLeast = 12, 8
	together := 0
	for seed := range uint64(worlds) {
		if checksTogether(t, seed) {
			together++
		}
	}
	t.Logf("checks began together in %d of %d worlds", together, worlds)
	if together < atLeast {
		t.Errorf("checks began together in %d of %d worlds, want %d", together, worlds, atLeast)
	}
}

// checksTogether tells whether two that can hear each other by nothing but notes
// begin to check at one moment, in the second minute after they know each other.
func checksTogether(t *testing.T, seed uint64) bool {
	t.Helper()
	w := newWorld(t, seed)
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"))
	natB := newNAT("5.0.2.1")
	natB.dependent = true
	b := w.host("bob", "10.0.2.2:20002", natB)
	b.wall = 300 * time.Millisecond // clocks differ a little
	withNotes(a, b)
	for range 3 {
		a.hint(b.public())
		b.hint(a.public())
	}
	if _, ok := w.run(20*time.Second, func() bool { return len(a.mesh.peers) == 1 && len(b.mesh.peers) == 1 }); !ok {
		t.Fatalf("alice knows %d members, bob %d", len(a.mesh.peers), len(b.mesh.peers))
	}
	w.run(time.Minute, nil)
	for _, h := range []*simHost{a, b} {
		if len(h.mesh.notes.unheard) > 0 {
			t.Errorf("%s still looks for a known member", h.name)
		}
	}
	var rounds [2][]time.Time
	for i, h := range []*simHost{a, b} {
		last := time.Time{}
		h.spy = func(to netip.AddrPort, _ []byte) {
			if w.now.Sub(last) > 2*time.Second {
				rounds[i] = append(rounds[i], w.now)
			}
			last = w.now
		}
	}
	w.run(time.Minute, nil)
	for _, at := range rounds[0] {
		if slices.ContainsFunc(rounds[1], func(bt time.Time) bool { return at.Sub(bt).Abs() < 500*time.Millisecond }) {
			return true
		}
	}
	return false
}

// Two behind endpoint-independent NATs get a path by notes even where their hellos
// were all lost.
func TestNotesLeadToAPath(t *testing.T) {
	w := newWorld(t, 2)
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"))
	b := w.host("bob", "10.0.2.2:20002", newNAT("5.0.2.1"))
	withNotes(a, b)
	// What the DHT names is out of date: another port of the same address.
	stale := func(at netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(at.Addr(), at.Port()+1) }
	w.run(time.Second, nil)
	a.hint(stale(b.public()))
	b.hint(stale(a.public()))
	if took, ok := w.run(40*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatalf("no path\n%s\n%s", a.story(), b.story())
	} else {
		t.Logf("connected after %v", took)
	}
	w.run(time.Minute, nil)
	if n := len(a.mesh.noteAt(w.now)); n > 0 {
		t.Error("a note is left while nobody looks for one")
	}
}

// An outsider who has the DHT name ever new addresses does not make a node search
// without end.
func TestNoteLooksAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "2.0.0.1:41000", nil)
	looks, now := 0, w.now
	const minutes = 120
	for i := range minutes {
		for j := range maxUnheard {
			a.mesh.named(now, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 0, byte(i), byte(j)}), 2000))
		}
		for range 6 {
			now = now.Add(10 * time.Second)
			a.mesh.out = effects{}
			a.mesh.stepNotes(now, now)
			looks += len(a.mesh.out.notes.look)
		}
	}
	if most := maxLooks + minutes/5; looks < maxLooks || looks > most {
		t.Errorf("looked for notes %d times in %d minutes, want %d to %d", looks, minutes, maxLooks, most)
	}
}

// A forged note, and one of this node itself, change nothing.
func TestNotesOfOthers(t *testing.T) {
	w := newWorld(t, 3)
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"))
	w.run(time.Second, nil)
	a.mesh.noted(w.now, w.now, []byte("rubbish"))
	a.mesh.noted(w.now, w.now, nil)
	a.mesh.noted(w.now, w.now, a.mesh.blob)
	if n := len(a.mesh.peers); n > 0 {
		t.Errorf("%d members by such notes", n)
	}
	for i := range 3 * maxUnheard {
		a.hint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{5, 1, byte(i), 1}), 5000))
	}
	if n := len(a.mesh.notes.unheard); n > maxUnheard {
		t.Errorf("%d silent addresses are kept, want at most %d", n, maxUnheard)
	}
}

// The note of a node that lives for an hour is as old as its number says; for
// others an hour is taken.
func TestAgeOfNote(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	seq := uint64(at.UnixMilli())
	for _, tt := range []struct {
		life, later, want time.Duration
	}{
		{recordLifetime, time.Minute, noteAge},
		{ephemeralLifetime, time.Minute, time.Minute},
		{ephemeralLifetime, 3 * time.Hour, 3 * time.Hour},
		{ephemeralLifetime, -time.Minute, 0},
	} {
		if got := ageOfNote(wire.Record{Seq: seq, Lifetime: tt.life}, at.Add(tt.later)); got != tt.want {
			t.Errorf("lifetime %v, %v later: %v, want %v", tt.life, tt.later, got, tt.want)
		}
	}
}
