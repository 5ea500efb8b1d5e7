package control

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// What a path carries is found out by checks (natpunch/plpmtu.go). Where that is less
// than a whole packet of the device, the peer's own addresses get routes with a smaller
// MTU, and TCP and path MTU discovery inside the tunnel do the rest. IPv6 inside
// needs 1,280 bytes: where not even these fit, WireGuard's datagrams to that endpoint
// leave in fragments.

const (
	// wireGuardOverhead is what WireGuard adds to a packet: a header of 16 bytes and a
	// tag of 16.
	wireGuardOverhead = 32
	// wireGuardPadding is what it fills packets up to a multiple of, short of the
	// device's MTU alone.
	wireGuardPadding = 16
	// longestPayload is that of a packet as long as the device takes.
	longestPayload = wgsetup.DefaultMTU + wireGuardOverhead
)

// carries takes what the path to a peer carries.
func (m *mesh) carries(a natpunch.MTU) {
	p := m.peers[a.Node]
	if p == nil || p.payload == a.Size {
		return
	}
	before, outer := p.mtu(), p.outerMTU()
	p.payload = a.Size
	m.out.apply = m.out.apply || p.installed && (p.mtu() != before || p.outerMTU() != outer)
}

// mtu is the longest packet to the peer; zero is the device's.
func (p *peer) mtu() int {
	if p.payload == 0 || p.payload >= longestPayload {
		return 0
	}
	return (p.payload - wireGuardOverhead) / wireGuardPadding * wireGuardPadding
}

// outerMTU is the longest IP packet to the peer's endpoint, where packets inside that
// cannot be any shorter would not fit; else zero.
func (p *peer) outerMTU() int {
	if n := p.mtu(); n == 0 || n >= wgsetup.MinMTU {
		return 0
	}
	return p.payload + udpHeaders(p.path.Addr.Addr())
}

func udpHeaders(a netip.Addr) int {
	if a.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// send puts a datagram on the one port. One that cannot be sent is no error: the
// machines behind it count on loss.
func (d *daemon) send(o outgoing) error {
	if err := d.port.send(o); errors.Is(err, syscall.EMSGSIZE) {
		d.mesh.agent.PacketTooBig(time.Now(), o.to, 0)
	}
	return nil
}

// icmp takes an ICMP error about a datagram of this node's.
func (d *daemon) icmp(e wgsetup.ICMPError) {
	if errors.Is(e.Err, syscall.EMSGSIZE) {
		d.mesh.agent.PacketTooBig(time.Now(), e.To, e.MTU)
		return
	}
	d.mesh.unreachable(time.Now(), e.To)
}
