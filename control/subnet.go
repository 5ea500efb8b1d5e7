package control

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/credant/credant/discovery/keys"
)

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

// subnetChanged looks at the claims of all members anew.
func (m *mesh) subnetChanged(now time.Time) {
	winner, claimed := keys.NodePublic{}, netip.Prefix{}
	if m.subnet.wanted.IsValid() {
		winner, claimed = m.self.public, m.subnet.wanted
	}
	for _, p := range m.peers {
		if s := p.record.Subnet; s.IsValid() && (!claimed.IsValid() || p.node.Compare(winner) < 0) {
			winner, claimed = p.node, s
		}
	}
	if !claimed.IsValid() || claimed == m.subnet.claimed {
		return
	}
	m.subnet.claimed = claimed
	m.out.remember = true
	a := m.addressing
	switch {
	case !a.prefix.IsValid() || a.prefix == claimed:
	case m.subnet.wanted.IsValid():
		m.notice("subnet", fmt.Sprintf("%s asks for the subnet %s, this node for %s, and its key is the lower one: start this node again without --subnet", m.nameOf(winner), claimed, m.subnet.wanted))
	case len(a.own) > 0 && a.own[0].settled:
		m.notice("subnet", fmt.Sprintf("the network uses the subnet %s now: start this node again to move there", claimed))
	default:
		m.addressing = newAddressing(now, m.self.public, claimed, a.fixed, memory{})
		m.publisher.dirty, m.out.apply = true, true
	}
}

// reviewAddresses lets the addressing see what the others claim.
func (m *mesh) reviewAddresses(now time.Time) {
	if due := m.addressing.due(); !m.claimsChanged && (due.IsZero() || now.Before(due)) {
		return
	}
	m.claimsChanged, m.out.names = false, true
	var others []claim
	for _, p := range m.peers {
		others = append(others, p.claims()...)
	}
	changed, notices := m.addressing.review(now, others, m.nameOf)
	if changed {
		m.notice("address", strings.Join(notices, "; "))
	}
	if changed {
		m.publisher.dirty, m.out.apply, m.out.remember = true, true, true
	}
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
