package natpunch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// Datagrams that are too long for a path vanish where ICMP is filtered, and with
// them every large transfer. So the path that was selected is probed as RFC 8899
// says, with checks that are padded and must not be fragmented. The longest datagram
// that WireGuard sends here is tried first; when it is answered, that was all. Else
// the path counts as one of the least size that is let through everywhere, until the
// search has found what it carries.

const (
	// minPacket is the least that a link must carry (RFC 8200, Section 5); IPv4's is
	// lower, but no link is met that carries less.
	minPacket = 1280
	// mtuSettles is what a new path is left alone for: its first handshake goes first.
	mtuSettles = 150 * time.Millisecond
	// A probe is answered within mtuPatience, or three round trips; RFC 8899, Section
	// 5.1.2 wants three that are lost (MAX_PROBES).
	mtuPatience = 300 * time.Millisecond
	maxProbes   = 3
	// While traffic flows, a size that works is tried again after mtuConfirm, and a
	// larger one after mtuRaise (Section 5.1.1, PMTU_RAISE_TIMER).
	mtuConfirm = time.Minute
	mtuRaise   = 10 * time.Minute
)

// packetSizes are the lengths of IP packets that links carry: Ethernet, PPPoE, and
// tunnels of all kinds. What lies between two is used by nobody.
var packetSizes = []int{
	minPacket, 1300, 1320, 1340, 1360, 1380, 1400, 1412, 1420, 1430, 1440, 1450, 1454, 1460, 1468, 1472, 1480, 1492, 1500,
}

// MTU says what the selected path to a peer carries: UDP payloads of up to Size bytes.
// It comes when that changes; until the first one nothing is known.
type MTU struct {
	Node keys.NodePublic
	Size int
}

func (MTU) action() {}

// PathMTU returns the longest UDP payload that the selected path is known to carry;
// zero is that nothing is known yet.
func (a *Agent) PathMTU(node keys.NodePublic) int {
	if c, ok := a.peers[node]; ok {
		return c.mtu.told
	}
	return 0
}

// PacketTooBig takes an ICMP error: a datagram to that address did not fit into a link
// of mtu bytes; zero is that the host itself could not send it. Anybody on the way can
// forge one, so it decides only what is probed next (RFC 8899, Section 4.6.1).
func (a *Agent) PacketTooBig(now time.Time, to netip.AddrPort, mtu int) {
	a.now = now
	to = plain(to)
	for _, c := range a.peers {
		if c.selected != nil && c.selected.remote == to {
			c.tooBig(now, mtu)
			a.reschedule(c)
		}
	}
}

// Used says that traffic flows to the peer. Only then is a path probed again.
func (a *Agent) Used(now time.Time, node keys.NodePublic) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.probeAgain(now)
		a.reschedule(c)
	}
}

// pathMTU is what is known of the size of the selected path, and the search for it.
type pathMTU struct {
	base    netip.Addr
	remote  netip.AddrPort
	sizes   []int // payloads that are worth a probe, ascending; the first is not probed
	carried int   // index of the longest that is known, or assumed, to pass
	refused int   // index of the shortest that does not; len(sizes): none
	told    int   // by the last MTU; zero: none
	probed  bool  // carried was answered, and is not just assumed

	probing   int // index of what is under way; -1: nothing
	id        transactionID
	tries     int
	next      time.Time // of the next probe, or when this one is lost; zero: never
	confirmed time.Time // when carried was last answered
	searched  time.Time // when the last search ended
}

// payloads are the sizes for one family, up to the longest that is ever sent.
func payloads(is4 bool, longest int) []int {
	headers := 40 + 8
	if is4 {
		headers = 20 + 8
	}
	var all []int
	for _, p := range packetSizes {
		if n := p - headers; n < longest {
			all = append(all, n)
		}
	}
	return append(all, longest)
}

// newPath begins anew for a path that was selected.
func (l *checkList) newPath(now time.Time) {
	m, p := &l.mtu, l.selected
	if l.agent.maxPayload == 0 || m.base == p.base && m.remote == p.remote {
		return
	}
	told := m.told
	sizes := payloads(p.remote.Addr().Is4(), l.agent.maxPayload)
	*m = pathMTU{
		base: p.base, remote: p.remote, sizes: sizes, refused: len(sizes), told: told, probing: -1,
		next: now.Add(mtuSettles),
	}
	m.probing = len(sizes) - 1
}

// forgetPath gives up what is known of a path that was lost. What was told stays: the
// next path says what it is worth.
func (l *checkList) forgetPath() { l.mtu = pathMTU{told: l.mtu.told, probing: -1} }

// advanceMTU sends the probe that is due, or takes one as lost.
func (l *checkList) advanceMTU(now time.Time) {
	m := &l.mtu
	if l.selected == nil {
		if m.remote.IsValid() {
			l.forgetPath()
		}
		return
	}
	if m.next.IsZero() || m.next.After(now) || m.probing < 0 || l.trust != settled {
		return
	}
	if m.tries == maxProbes {
		l.probeLost(now)
		return
	}
	if !l.spare(reserve) || !l.agent.pings.take(now) {
		m.next = now.Add(mtuPatience)
		return
	}
	l.link.pings.take(now)
	l.link.number++
	l.agent.number = max(l.agent.number, l.link.number)
	m.id = l.agent.transactionID()
	m.tries++
	m.next = now.Add(max(mtuPatience, 3*l.selected.rtt))
	l.sendSized(m.base, m.remote, check{Type: ping, Number: l.link.number, ID: m.id, Sized: true}, m.sizes[m.probing])
}

// mtuDue is when advanceMTU has something to do.
func (l *checkList) mtuDue() time.Time {
	if l.selected == nil || l.trust != settled || l.mtu.probing < 0 {
		return time.Time{}
	}
	return l.mtu.next
}

// probeAnswered takes a pong; false is that it answers no probe.
func (l *checkList) probeAnswered(now time.Time, from netip.AddrPort, id transactionID) bool {
	m := &l.mtu
	if m.probing < 0 || m.tries == 0 || m.id != id || m.remote != from {
		return false
	}
	confirms := m.probing == m.carried && m.probed
	m.carried, m.probed, m.confirmed = m.probing, true, now
	if confirms {
		m.probing, m.next, m.tries = -1, time.Time{}, 0
		return true
	}
	l.searchOn(now)
	return true
}

// probeLost takes a probe as too long for the path.
func (l *checkList) probeLost(now time.Time) {
	m := &l.mtu
	if m.probing == m.carried { // it did pass: the path is another one by now
		m.carried, m.probed = 0, false
	}
	m.refused = m.probing
	l.searchOn(now)
}

// searchOn probes the middle of what is left, or ends the search.
func (l *checkList) searchOn(now time.Time) {
	m := &l.mtu
	m.tries = 0
	l.tellMTU()
	if m.refused-m.carried <= 1 {
		m.probing, m.next, m.searched = -1, time.Time{}, now
		return
	}
	m.probing, m.next = (m.carried+m.refused)/2, now
	if m.refused == len(m.sizes) { // nothing was refused yet: the longest first
		m.probing = len(m.sizes) - 1
	}
}

func (l *checkList) tellMTU() {
	m := &l.mtu
	if size := m.sizes[m.carried]; size != m.told {
		m.told = size
		l.agent.emit(MTU{Node: l.node, Size: size})
	}
}

// tooBig takes a hint of what the path carries. Of a probe that is under way it says
// that it was too long; else what works is tried again.
func (l *checkList) tooBig(now time.Time, mtu int) {
	m := &l.mtu
	if m.remote != l.selected.remote || l.trust != settled {
		return
	}
	headers := 40 + 8
	if m.remote.Addr().Is4() {
		headers = 20 + 8
	}
	fits, _ := slices.BinarySearch(m.sizes, mtu-headers+1)
	fits = max(0, fits-1) // the longest size that fits, at least the first
	switch {
	case m.probing > m.carried && m.tries > 0 && (mtu == 0 || fits < m.probing):
		m.refused, m.tries = m.probing, 0
		l.tellMTU()
		if m.probing = max(fits, (m.carried+m.refused)/2); mtu > 0 && fits > m.carried {
			m.probing = fits
		}
		m.next = now
		if m.refused-m.carried <= 1 {
			l.searchOn(now)
		}
	case m.probing < 0 && mtu > 0 && fits < m.carried:
		m.probing, m.tries, m.next = m.carried, 0, now
	}
}

// probeAgain looks now and then whether a path in use is still what it was.
func (l *checkList) probeAgain(now time.Time) {
	m := &l.mtu
	if l.selected == nil || m.remote != l.selected.remote || l.trust != settled || m.probing >= 0 {
		return
	}
	switch last := len(m.sizes) - 1; {
	case m.carried < last && now.Sub(m.searched) >= mtuRaise:
		m.refused, m.searched = len(m.sizes), now
		m.probing, m.tries, m.next = last, 0, now
	case m.probed && m.carried > 0 && now.Sub(m.confirmed) >= mtuConfirm:
		m.probing, m.tries, m.next = m.carried, 0, now
	}
}
