package natpunch

import (
	"crypto/rand"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

const (
	// refreshInterval is how often one server is asked whether the mapping still
	// is what it was. Keepalives and checks tell of a lost one sooner; this is
	// for the record that says where the node is.
	refreshInterval = 15 * time.Minute
	// firstRetry follows a measurement that nobody answered; it doubles.
	firstRetry = 30 * time.Second
	// maxServers bounds the list.
	maxServers = 32
)

// STUN asks STUN servers at which address they see this node's port (RFC 8489),
// and compares the answers. Its owner calls it as it does an Agent.
type STUN struct {
	random  io.Reader
	servers []netip.AddrPort
	own     []netip.Addr
	port    uint16

	ipv4, ipv6 survey
}

// NewSTUN returns a client of these servers, of which it asks a few in their
// order. Without servers it does nothing.
func NewSTUN(servers []netip.AddrPort) *STUN {
	s := &STUN{random: rand.Reader}
	s.SetServers(servers)
	return s
}

// SetServers replaces the servers. What is new is asked if the old ones did not
// tell enough.
func (s *STUN) SetServers(servers []netip.AddrPort) {
	s.servers = nil
	for _, a := range servers {
		a = plain(a)
		if a.Port() != 0 && a.Addr().IsGlobalUnicast() && !slices.Contains(s.servers, a) && len(s.servers) < maxServers {
			s.servers = append(s.servers, a)
		}
	}
	s.assign()
}

// SetLocal says which addresses and which port this node has: what a server sees
// is compared with them, and a family without an address is not asked about.
func (s *STUN) SetLocal(addrs []netip.Addr, port uint16) {
	s.own, s.port = slices.Clone(addrs), port
	s.assign()
	for _, f := range s.families() {
		f.evaluate(s)
	}
}

// assign gives each family its servers.
func (s *STUN) assign() {
	for _, f := range s.families() {
		ipv4 := f == &s.ipv4
		have := len(s.own) == 0 || slices.ContainsFunc(s.own, func(a netip.Addr) bool {
			return a.IsGlobalUnicast() && (ipv4 && a.Is4() || !ipv4 && a.Is6() && !a.IsPrivate())
		})
		var servers []netip.AddrPort
		for _, a := range s.servers {
			if have && a.Addr().Is4() == ipv4 {
				servers = append(servers, a)
			}
		}
		f.setServers(servers)
	}
}

// Refresh measures everything anew, as after a change of network: what was known
// is forgotten.
func (s *STUN) Refresh(now time.Time) {
	for _, f := range s.families() {
		f.status, f.answers = FamilyStatus{}, nil
		f.start(wantedAnswers)
		f.started = now
	}
}

// Result returns what is known so far.
func (s *STUN) Result() NATStatus {
	return NATStatus{IPv4: s.ipv4.status.clone(), IPv6: s.ipv6.status.clone()}
}

func (f FamilyStatus) clone() FamilyStatus {
	f.Reflexive = slices.Clone(f.Reflexive)
	return f
}

func (s *STUN) families() [2]*survey { return [2]*survey{&s.ipv4, &s.ipv6} }

// maxSTUN is more than a binding response with every attribute we know of.
const maxSTUN = 548

// Receive takes a datagram of demux.STUN. It returns why the datagram was
// dropped, or nothing.
func (s *STUN) Receive(now time.Time, from netip.AddrPort, datagram []byte) string {
	if len(datagram) > maxSTUN {
		return demux.DropOversized
	}
	r, ok := parseBinding(datagram)
	if !ok {
		return demux.DropMalformed
	}
	from = plain(from)
	f := &s.ipv6
	if from.Addr().Is4() {
		f = &s.ipv4
	}
	return f.receive(now, s, from, r)
}

// Advance returns the requests that are due.
func (s *STUN) Advance(now time.Time) []Send {
	return append(s.ipv4.advance(now, s), s.ipv6.advance(now, s)...)
}

// Next returns when Advance has something to do; false is never.
func (s *STUN) Next() (time.Time, bool) {
	a, b := s.ipv4.due(), s.ipv6.due()
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		a = b
	}
	return a, !a.IsZero()
}
