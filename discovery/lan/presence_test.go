package lan

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	self   = keys.NodePublic{1}
	other  = keys.NodePublic{2}
	addr4  = netip.MustParseAddr("192.0.2.7")
	beacon = heard{Beacon: wire.Beacon{Node: other, Port: 5182, Tx: 9, WantReply: true}, iface: 3, from: addr4}
)

// The constants are what group.go says they are made of.
func TestGroupsAreDerived(t *testing.T) {
	h := sha256.Sum256([]byte("credant/lan/1"))
	if want := netip.AddrFrom4([4]byte{239, 255, h[0], h[1]}); Group4 != want {
		t.Errorf("Group4 = %v, want %v", Group4, want)
	}
	six := [16]byte{0xff, 0x12}
	copy(six[12:], h[2:6])
	six[12] |= 0x80
	if want := netip.AddrFrom16(six); Group6 != want {
		t.Errorf("Group6 = %v, want %v", Group6, want)
	}
	if want := 20000 + binary.BigEndian.Uint16(h[6:8])%10000; Port != want {
		t.Errorf("Port = %d, want %d", Port, want)
	}
	if !Group4.IsMulticast() || !Group6.IsLinkLocalMulticast() {
		t.Errorf("%v and %v: want multicast groups that no router forwards", Group4, Group6)
	}
}

// run advances p until end and returns when it sent, and over which families.
func sends(p *presence, end time.Duration) (at []time.Duration, scopes []scope) {
	for now := start; ; now = p.Next() {
		if now.Sub(start) > end {
			return at, scopes
		}
		for _, s := range p.Advance(now) {
			at = append(at, now.Sub(start))
			scopes = append(scopes, s.scope)
		}
	}
}

func TestPace(t *testing.T) {
	p := newPresence(start, self)
	at, scopes := sends(p, 3*time.Minute)
	const both = onIPv4 | onIPv6
	wantAt := []time.Duration{0, 250 * time.Millisecond, time.Second, 61 * time.Second, 121 * time.Second}
	if diff := cmp.Diff(wantAt, at); diff != "" {
		t.Errorf("sent at (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]scope{both, both, both, onIPv4, onIPv6}, scopes); diff != "" {
		t.Errorf("over (-want +got):\n%s", diff)
	}
}

func TestKickSendsAtOnceButNotOftener(t *testing.T) {
	p := newPresence(start, self)
	sends(p, 10*time.Second)
	now := start.Add(20 * time.Second)
	n := 0
	for i := range 1000 { // a swarm of network changes within a second
		p.Kick(now)
		got := len(p.Advance(now))
		if i == 0 && got != 1 {
			t.Errorf("the first Kick sent %d beacons, want 1", got)
		}
		n += got
		now = now.Add(time.Millisecond)
	}
	if n > 4 {
		t.Errorf("%d beacons in a second of kicks, want at most one each %v", n, minGap)
	}
}

func TestHeard(t *testing.T) {
	p := newPresence(start, self)
	found, answer, reason := p.Heard(start, beacon)
	if want := netip.AddrPortFrom(addr4, 5182); found != want || reason != "" {
		t.Errorf("found %v, dropped for %q; want %v", found, reason, want)
	}
	if diff := cmp.Diff([]send{{scope: onIPv4 | onIPv6, iface: 3, tx: 9}}, answer, cmp.AllowUnexported(send{})); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}

	// The rest of the burst may be another process's that has just started.
	answers := 0
	for _, d := range burst[1:] {
		_, a, _ := p.Heard(start.Add(d), beacon)
		answers += len(a)
	}
	if answers != 2 {
		t.Errorf("%d answers to the rest of a burst, want 2", answers)
	}
	if _, a, _ := p.Heard(start.Add(burst[2]+answerGap/2), beacon); len(a) != 0 {
		t.Error("answered again at once")
	}
	quiet := beacon
	quiet.WantReply = false
	if _, a, _ := p.Heard(start.Add(time.Minute), quiet); len(a) != 0 {
		t.Errorf("answered %v to a beacon that asks for none", a)
	}
}

// A beacon that came back is nobody's; one under this node's key that it has not
// sent is a twin's.
func TestHeardOwn(t *testing.T) {
	p := newPresence(start, self)
	own := beacon
	own.Node = self
	for _, s := range p.Advance(start) {
		own.Tx = s.tx
		if found, a, reason := p.Heard(start, own); found.IsValid() || len(a) != 0 || reason != "" {
			t.Errorf("own beacon: got %v, %v, %q; want nothing", found, a, reason)
		}
	}
	_, answer, _ := p.Heard(start, beacon)
	own.Tx = answer[0].tx
	if found, _, _ := p.Heard(start, own); found.IsValid() {
		t.Errorf("own answer: found %v", found)
	}
	own.Tx++
	found, a, _ := p.Heard(start.Add(time.Second), own)
	if want := netip.AddrPortFrom(addr4, 5182); found != want || len(a) != 0 {
		t.Errorf("a twin's: got %v, answer %v; want %v and none", found, a, want)
	}
}

// Replayed beacons, and beacons of a member gone bad, cost a bounded number of
// answers, hints and table entries.
func TestReplayIsHarmless(t *testing.T) {
	p := newPresence(start, self)
	answers, yields := 0, 0
	const seconds = 10
	for i := range seconds * 1000 {
		b := beacon
		b.Node[1], b.Node[2] = byte(i), byte(i>>8)
		b.from = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		found, a, _ := p.Heard(start.Add(time.Duration(i)*time.Millisecond), b)
		answers += len(a)
		if found.IsValid() {
			yields++
		}
	}
	if limit := answersBurst + seconds*int(time.Second/answersEvery); answers > limit {
		t.Errorf("%d answers in %d s, want at most %d", answers, seconds, limit)
	}
	if limit := yieldBurst + seconds*int(time.Second/yieldEvery); yields > limit {
		t.Errorf("%d hints in %d s, want at most %d", yields, seconds, limit)
	}
	if len(p.answered) > maxMembers || len(p.yielded) > maxYielded {
		t.Errorf("tables of %d and %d entries", len(p.answered), len(p.yielded))
	}
}
