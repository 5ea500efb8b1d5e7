package mainline

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var lookupStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A node that names ever closer nodes which do not exist costs a bounded number of
// queries and contacts, and does not take the place of those that answer.
func TestLiarsAreBounded(t *testing.T) {
	now := lookupStart
	l := newLookup(now, infoHash{}, settledEvery)
	honest := make(map[netip.AddrPort]nodeID)
	for i := range byte(8) {
		honest[netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 6881)] = nodeID{0x10, i}
	}
	liar := netip.MustParseAddrPort("203.0.113.66:6881")
	seeds := []node{{nodeID{1}, liar}}
	for a, id := range honest {
		seeds = append(seeds, node{id, a})
	}

	fake := uint32(0)
	toFakes, polled := 0, 0
	inFlight := make(map[query]time.Time)
	for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
		if l.SearchDue(now) {
			l.Search(now, seeds)
		}
		for _, q := range l.Advance(now) {
			id, isHonest := honest[q.to]
			switch {
			case q.token != "":
				l.Accept(now, q)
			case isHonest:
				polled++
				l.Answer(now, q, answer{id: id, token: "t"})
			case q.to == liar:
				a := answer{id: nodeID{1}, token: "t"}
				for range 50 {
					fake++
					n := node{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(fake >> 16), byte(fake >> 8), byte(fake)}), 1000)}
					binary.BigEndian.PutUint32(n.id[4:], ^fake)
					a.nodes = append(a.nodes, n)
				}
				l.Answer(now, q, a)
			default:
				toFakes++ // nobody there
				inFlight[q] = now
			}
		}
		for q, at := range inFlight {
			if now.Sub(at) >= queryTimeout {
				delete(inFlight, q)
				l.Fail(now, q)
			}
		}
		if len(l.contacts) > maxContacts {
			t.Fatalf("%d contacts, want at most %d", len(l.contacts), maxContacts)
		}
	}
	if toFakes > searchBudget+150*alpha {
		t.Errorf("%d queries to nodes that a liar made up", toFakes)
	}
	if l.Live() < closestK || !l.Announced() {
		t.Errorf("%d nodes answer, announced %t; want the honest ones kept", l.Live(), l.Announced())
	}
	if polled < (closestK-1)*120/fastShare { // the liar, who answers too, holds one place
		t.Errorf("the honest nodes were asked %d times, want each second for two minutes", polled)
	}
}

// Random events, valid or not, leave the lookup within its bounds.
func TestRandomEvents(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	now := lookupStart
	l := newLookup(now, infoHash{7}, settledEvery)
	addr := func() netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(r.Uint32() % 2), byte(r.Uint32())}), 6881)
	}
	id := func() (id nodeID) {
		id[0], id[19] = byte(r.Uint32()), byte(r.Uint32()%4)
		return id
	}
	var pending []query
	for range 5000 {
		now = now.Add(time.Duration(r.ExpFloat64() * float64(500*time.Millisecond)))
		switch r.IntN(8) {
		case 0:
			l.Kick(now)
		case 1:
			l.Search(now, []node{{id(), addr()}, {addr: addr()}})
		case 2:
			l.Fail(now, query{hash: l.hash, to: addr()}) // late, or of another search
		default:
			for _, q := range pending {
				switch r.IntN(3) {
				case 0:
					l.Fail(now, q)
				default:
					if q.token != "" {
						l.Accept(now, q)
						break
					}
					a := answer{id: id(), token: "t", values: []netip.AddrPort{addr()}}
					for range r.IntN(20) {
						a.nodes = append(a.nodes, node{id(), addr()})
					}
					l.Answer(now, q, a)
				}
			}
			pending = nil
		}
		qs := l.Advance(now)
		if len(qs) > 3*seedAlpha {
			t.Fatalf("seed %d: %d queries at once", seed, len(qs))
		}
		pending = append(pending, qs...)
		if len(l.contacts) > maxContacts || len(l.seen) > maxSeen {
			t.Fatalf("seed %d: %d contacts, %d addresses seen", seed, len(l.contacts), len(l.seen))
		}
		for i := 1; i < len(l.contacts); i++ {
			if distanceCompare(l.hash, l.contacts[i-1].id, l.contacts[i].id) > 0 {
				t.Fatalf("seed %d: contacts out of order", seed)
			}
		}
		if next := l.Next(now); next.After(now.Add(searchEvery)) {
			t.Fatalf("seed %d: nothing to do before %v", seed, next)
		}
	}
}

// Nodes on the public DHT cannot point into private networks.
func TestLearnable(t *testing.T) {
	for _, c := range []struct {
		from, addr string
		want       bool
	}{
		{"203.0.113.1:1", "198.51.100.1:6881", true},
		{"203.0.113.1:1", "198.51.100.1:0", false},
		{"203.0.113.1:1", "192.168.1.1:53", false},
		{"203.0.113.1:1", "100.64.0.1:53", false},
		{"203.0.113.1:1", "127.0.0.1:53", false},
		{"203.0.113.1:1", "169.254.169.254:80", false},
		{"203.0.113.1:1", "224.0.0.251:5353", false},
		{"203.0.113.1:1", "255.255.255.255:9", false},
		{"203.0.113.1:1", "0.0.0.0:9", false},
		{"192.168.1.2:1", "192.168.1.3:6881", true},
		{"127.0.0.1:1", "127.0.0.2:6881", true},
		{"[2001:db8::1]:1", "[2001:db8::2]:6881", true},
		{"[2001:db8::1]:1", "[fd00::2]:6881", false},
		{"[2001:db8::1]:1", "[fe80::2]:6881", false},
		{"[2001:db8::1]:1", "[::1]:6881", false},
		{"[2001:db8::1]:1", "[::ffff:192.168.1.1]:6881", false},
		{"203.0.113.1:1", "[2001:db8::2]:6881", true},
	} {
		if got := learnable(netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.addr)); got != c.want {
			t.Errorf("learnable(%s, %s) = %t, want %t", c.from, c.addr, got, c.want)
		}
	}
}
