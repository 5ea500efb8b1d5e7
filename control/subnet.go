package control

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// overlayAddresses is what this node's addresses in the network are decided by.
type overlayAddresses struct {
	subnet     subnet
	addressing *addressing
	fixed      []netip.Addr // that the user asked for
	remembered memory       // from an earlier run
	considered netip.Prefix // the subnet for which addressing was last begun
	clash      func(netip.Prefix) (what string, clashes bool)

	claimsChanged bool // the addresses that are claimed differ from the last review
	claimsPace    pace
}

// subnet decides which IPv4 prefix the network uses. Everybody starts with the
// one from the network key; an explicit one travels in records as a claim, and
// where claims differ the lowest node key's wins. Nobody renumbers by itself:
// a node whose addresses have settled keeps them until it starts again.
type subnet struct {
	self     keys.NodePublic
	standard netip.Prefix // from the network key
	wanted   netip.Prefix // the user's; invalid: none
	claimed  netip.Prefix // the network's, as far as known; invalid: none
}

func newSubnet(k keys.NetworkKey, self keys.NodePublic, wanted, remembered netip.Prefix) subnet {
	return subnet{self: self, standard: k.Prefix4(), wanted: wanted, claimed: remembered}
}

// prefix is what this node uses when it chooses an address.
func (s subnet) prefix() netip.Prefix {
	switch {
	case s.wanted.IsValid():
		return s.wanted
	case s.claimed.IsValid():
		return s.claimed
	default:
		return s.standard
	}
}

// privateSpaces are what a member may have the others use: a prefix of the
// internet would have them send its packets into the tunnel.
var privateSpaces = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), cgnat,
}

func claimable(p netip.Prefix) bool {
	if !p.IsValid() || p.Bits() > 29 {
		return false
	}
	for _, space := range privateSpaces {
		if space.Bits() <= p.Bits() && space.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// subnetChanged looks at the claims of all members anew.
func (m *mesh) subnetChanged(now time.Time) {
	s := &m.subnet
	winner, claimed := keys.NodePublic{}, netip.Prefix{}
	if s.wanted.IsValid() {
		winner, claimed = m.self.public, s.wanted
	}
	for _, p := range m.peers {
		if c := p.record.Subnet; claimable(c) && (!claimed.IsValid() || p.node.Compare(winner) < 0) {
			winner, claimed = p.node, c
		}
	}
	if claimed.IsValid() && claimed != s.claimed {
		s.claimed = claimed
		m.out.remember = true
	}
	a := m.addressing
	if m.considered != s.prefix() && !settled(a.own4()) {
		m.takePrefix(now)
		a = m.addressing
	}
	text := m.subnetConflict(winner, claimed)
	if text == "" && a.prefix.IsValid() && a.prefix != s.prefix() {
		text = fmt.Sprintf("the network uses the subnet %s now: start this node again to move there", s.prefix())
	}
	m.notice("subnet", text)
}

func settled(claims []claim) bool { return len(claims) > 0 && claims[0].settled }

// subnetConflict says that nodes ask for different subnets, to those whose users
// have asked.
func (m *mesh) subnetConflict(winner keys.NodePublic, claimed netip.Prefix) string {
	wanted := m.subnet.wanted
	switch {
	case !wanted.IsValid():
		return ""
	case winner != m.self.public && claimed != wanted:
		return fmt.Sprintf("%s asks for the subnet %s, this node for %s, and its key is the lower one: start this node again without --subnet", m.nameOf(winner), claimed, wanted)
	}
	var first *peer // of those that differ, so that the notice does not change with the order of the table
	for _, p := range m.peers {
		if c := p.record.Subnet; c.IsValid() && c != wanted && (first == nil || p.node.Compare(first.node) < 0) {
			first = p
		}
	}
	switch {
	case first == nil:
		return ""
	case !claimable(first.record.Subnet):
		return fmt.Sprintf("%s asks for the subnet %s, which is not private, this node for %s: start that one again without --subnet", first.name(), first.record.Subnet, wanted)
	default:
		return fmt.Sprintf("%s asks for the subnet %s, this node for %s, which the others use: start that one again without --subnet", first.name(), first.record.Subnet, wanted)
	}
}

// takePrefix begins anew with the addresses, in the network's prefix if this host
// does not use it otherwise.
func (m *mesh) takePrefix(now time.Time) {
	before := m.addressing
	memory := m.remembered
	for _, c := range before.own {
		if c.settled {
			memory.Settled = append(memory.Settled[:len(memory.Settled):len(memory.Settled)], c.addr)
		}
	}
	prefix := m.subnet.prefix()
	m.considered = prefix
	what, clashes := m.clash(prefix)
	if clashes {
		prefix = netip.Prefix{}
		m.notice("clash", fmt.Sprintf("this host uses %s already (%s): the network is reached by IPv6 only; choose another --subnet on every node to have IPv4", m.subnet.prefix(), what))
	} else {
		m.notice("clash", "")
	}
	if prefix == before.prefix {
		return
	}
	m.addressing = newAddressing(now, m.self.public, prefix, m.fixed, memory)
	m.claimsChanged, m.publisher.dirty, m.out.apply, m.out.remember = true, true, true, true
}

// clashReviewed looks at what this host uses otherwise, which has changed: where
// it was in the way, IPv4 may begin now, and where it has come since, it is told.
func (m *mesh) clashReviewed(now time.Time) {
	a := m.addressing
	if !a.prefix.IsValid() {
		m.takePrefix(now)
		return
	}
	text := ""
	if what, clashes := m.clash(a.prefix); clashes {
		text = fmt.Sprintf("this host has begun to use %s otherwise (%s): nodes may be hidden behind it by IPv4; reach them by IPv6, or choose another --subnet on every node", a.prefix, what)
	}
	m.notice("clash", text)
}

// reviewAddresses lets the addressing see what the others claim.
func (m *mesh) reviewAddresses(now time.Time) {
	if due := m.addressing.due(); !m.claimsChanged && (due.IsZero() || now.Before(due)) || !m.claimsPace.allows(now) {
		return
	}
	m.claimsChanged, m.out.names = false, true
	m.subnetChanged(now)
	var others []claim
	for _, p := range m.peers {
		others = append(others, m.claimsOf(p)...)
	}
	changed, notices := m.addressing.review(now, others, m.nameOf)
	m.notice("address", strings.Join(notices, "; "))
	if changed {
		m.publisher.dirty, m.out.apply, m.out.remember = true, true, true
	}
	m.claimsChanged = false // what subnetChanged did was seen
}

func (m *mesh) nameOf(k keys.NodePublic) string {
	if k == m.self.public {
		return "this node"
	}
	if p := m.peers[k]; p != nil {
		return p.name()
	}
	return string(k.ID())
}
