package wgsetup

import (
	"fmt"
	"net/netip"
	"strings"
)

// Step is one change of the host. Its String says what it does.
type Step struct {
	op      op
	iface   string
	value   int          // port, mark or MTU; for a route, zero is the device's
	prefix  netip.Prefix // address or route
	peer    Peer         // whole for addPeer, the changed fields for updatePeer
	change  peerChange
	alias   string
	under   underlayRoute
	rule    portRule
	subnet  bool // a route with subnetMetric
	exit    exitRule
	way     exitRoute
	setting setting
}

type op uint8

const (
	createLink op = iota
	setAlias
	setKey
	setPort
	setMark
	setMTU
	removeRoute
	removeAddress
	linkUp
	addAddress
	addRoute
	changeRoute
	removeRule
	removeUnderlay
	addUnderlay
	addRule
	removeExitRule
	removeExitRoute
	addExitRoute
	addExitRule
	setHostTable
	setSetting
	removePeer
	updatePeer
	addPeer
)

// peerChange names what of a peer differs.
type peerChange uint8

const (
	changePresharedKey peerChange = 1 << iota
	changeKeepalive
	addAllowedIPs     // only some are missing: none has to go
	replaceAllowedIPs // some have to go
	changeEndpoint    // it has none
)

// String says what the step does, without secrets.
func (s Step) String() string {
	switch s.op {
	case createLink:
		return "create " + s.iface
	case setAlias:
		return fmt.Sprintf("mark %s as %s", s.iface, s.alias)
	case setKey:
		return "set private key of " + s.iface
	case setPort:
		return fmt.Sprintf("set port of %s to %d", s.iface, s.value)
	case setMark:
		return fmt.Sprintf("set firewall mark of %s to %#x", s.iface, s.value)
	case setMTU:
		return fmt.Sprintf("set MTU of %s to %d", s.iface, s.value)
	case removeRoute:
		return fmt.Sprintf("remove route %s from %s", s.prefix, s.iface)
	case removeAddress:
		return fmt.Sprintf("remove address %s from %s", s.prefix, s.iface)
	case linkUp:
		return fmt.Sprintf("set %s up", s.iface)
	case addAddress:
		return fmt.Sprintf("add address %s to %s", s.prefix, s.iface)
	case addRoute:
		if s.value != 0 {
			return fmt.Sprintf("add route %s with MTU %d to %s", s.prefix, s.value, s.iface)
		}
		return fmt.Sprintf("add route %s to %s", s.prefix, s.iface)
	case changeRoute:
		if s.value != 0 {
			return fmt.Sprintf("set MTU of route %s by %s to %d", s.prefix, s.iface, s.value)
		}
		return fmt.Sprintf("take MTU off route %s by %s", s.prefix, s.iface)
	case removeRule:
		return fmt.Sprintf("remove rule for %s", s.rule)
	case removeUnderlay:
		return fmt.Sprintf("remove underlay route %s", s.under)
	case addUnderlay:
		return fmt.Sprintf("set underlay route %s", s.under)
	case addRule:
		return fmt.Sprintf("add rule for %s", s.rule)
	case removeExitRule:
		return fmt.Sprintf("remove exit rule %s", s.exit)
	case removeExitRoute:
		return fmt.Sprintf("remove exit route %s", s.way)
	case addExitRoute:
		return fmt.Sprintf("set exit route %s", s.way)
	case addExitRule:
		return fmt.Sprintf("add exit rule %s", s.exit)
	case setHostTable:
		return "set nftables table " + s.alias
	case setSetting:
		return fmt.Sprintf("set %s to %s", s.setting.name(), s.setting.value)
	case removePeer:
		return fmt.Sprintf("remove peer %s from %s", s.peer.PublicKey, s.iface)
	case updatePeer:
		return fmt.Sprintf("update peer %s of %s: %s", s.peer.PublicKey, s.iface, s.change)
	case addPeer:
		return fmt.Sprintf("add peer %s to %s", s.peer.PublicKey, s.iface)
	}
	return fmt.Sprintf("step %d on %s", s.op, s.iface)
}

func (c peerChange) String() string {
	var words []string
	for _, w := range []struct {
		bit  peerChange
		word string
	}{
		{changePresharedKey, "pre-shared key"},
		{changeKeepalive, "keepalive"},
		{addAllowedIPs, "allowed IPs"},
		{replaceAllowedIPs, "allowed IPs"},
		{changeEndpoint, "endpoint"},
	} {
		if c&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ", ")
}
