package wgsetup

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/sideport"
)

// Device is this host's WireGuard device of one network. Open makes it, Remove
// or Detach ends it.
type Device struct {
	config   Config
	host     *host
	backend  backend
	side     SidePort
	watch    *watch
	log      *slog.Logger
	changes  chan struct{}
	done     chan struct{} // closed by Remove and Detach
	held     heldPorts
	openings openings

	mu          sync.Mutex // everything below, and all that changes the host
	target      target
	index       int  // of the link
	mark        int  // WireGuard's firewall mark, which the side port follows
	adopted     bool // Open found it
	created     bool // Open made it
	applied     bool // the target is somebody's wish
	noUnder     bool // there is no underlay route or rule, nor should be
	noExit      bool // the same of an exit
	hosting     hostSide
	closed      bool
	seen        string         // the rest of the host, for Changes
	routesTold  []netip.Prefix // by HostRoutes
	routesAsked bool
	lastErr     string // of a repair: said once
}

// Name returns the interface's name.
func (d *Device) Name() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.target.iface
}

// Backend returns Kernel or Embedded.
func (d *Device) Backend() Backend { return d.backend.kind() }

// Port returns WireGuard's UDP port, which is not the one that Config wanted
// where that was taken.
func (d *Device) Port() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.target.port
}

// Adopted says whether Open found the device, with its peers and sessions.
func (d *Device) Adopted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.adopted
}

// HasIPv6 is false once the host has refused an IPv6 address: the overlay then
// has IPv4 only.
func (d *Device) HasIPv6() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.target.noIPv6
}

// SidePort returns the other half of WireGuard's port. It ends with the Device.
func (d *Device) SidePort() SidePort { return d.side }

// Drops counts datagrams that the side port lost, by reason.
func (d *Device) Drops() map[string]uint64 { return d.backend.drops() }

// ICMPError is an ICMP error about a datagram that left from WireGuard's port.
// It is a hint: anybody on the way can forge one.
type ICMPError = sideport.ICMPError

// ICMPErrors receives them while somebody reads the side port; those that wait
// too long are dropped.
func (d *Device) ICMPErrors() <-chan ICMPError { return d.backend.icmpErrors() }

// Changes receives an element after addresses, links or routes of the host
// changed, other than those of our own devices. Several changes may be one
// element. It works while Run does and is never closed.
func (d *Device) Changes() <-chan struct{} { return d.changes }

// Peers returns WireGuard's state of each peer.
func (d *Device) Peers() (map[wgtypes.Key]PeerState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	dev, err := d.backend.device()
	if err != nil {
		return nil, fmt.Errorf("read peers of %s: %w", d.target.iface, err)
	}
	peers := make(map[wgtypes.Key]PeerState, len(dev.Peers))
	for _, p := range dev.Peers {
		s := PeerState{
			Endpoint: addrPort(p.Endpoint),
			RxBytes:  p.ReceiveBytes,
			TxBytes:  p.TransmitBytes,
		}
		if p.LastHandshakeTime.Unix() > 0 {
			s.LastHandshake = p.LastHandshakeTime
		}
		peers[p.PublicKey] = s
	}
	return peers, nil
}

// SetEndpoint moves a peer that Apply wanted. It reads nothing back, so that it
// can be repeated every few milliseconds.
func (d *Device) SetEndpoint(peer wgtypes.Key, endpoint netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.wanted(peer)
	if err != nil {
		return fmt.Errorf("set endpoint of peer %s to %s: %w", peer, endpoint, err)
	}
	addr := net.UDPAddrFromAddrPort(endpoint)
	switch {
	case !endpoint.IsValid():
		return fmt.Errorf("set endpoint of peer %s: no address", peer)
	case d.unreachable(addr):
		return fmt.Errorf("set endpoint of peer %s to %s: %w", peer, endpoint, ErrLinkLocalEndpoint)
	}
	err = d.backend.configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{
		PublicKey: peer, UpdateOnly: true, Endpoint: addr,
	}}})
	if err != nil {
		return fmt.Errorf("set endpoint of peer %s to %s: %w", peer, endpoint, err)
	}
	p.Endpoint = endpoint
	return nil
}

// Nudge makes WireGuard send a keepalive to the peer at once, which starts a
// handshake if there is no session. WireGuard itself allows one handshake in 5
// seconds.
func (d *Device) Nudge(peer wgtypes.Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.wanted(peer)
	if err != nil {
		return fmt.Errorf("nudge peer %s: %w", peer, err)
	}
	// One goes out when the interval turns from zero to something.
	intervals := []time.Duration{0, time.Second, p.Keepalive}
	if p.Keepalive >= time.Second {
		intervals = []time.Duration{0, p.Keepalive}
	}
	var c wgtypes.Config
	for i := range intervals {
		c.Peers = append(c.Peers, wgtypes.PeerConfig{
			PublicKey: peer, UpdateOnly: true, PersistentKeepaliveInterval: &intervals[i],
		})
	}
	if err := d.backend.configure(c); err != nil {
		return fmt.Errorf("nudge peer %s: %w", peer, err)
	}
	return nil
}

// Reset removes a peer and adds it again with the same settings and its present
// endpoint. Its session is lost, and with it the time that WireGuard would wait
// for an answer to the last handshake.
func (d *Device) Reset(peer wgtypes.Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.wanted(peer)
	if err != nil {
		return fmt.Errorf("reset peer %s: %w", peer, err)
	}
	dev, err := d.backend.device()
	if err != nil {
		return fmt.Errorf("reset peer %s: %w", peer, err)
	}
	again := *p
	for _, there := range dev.Peers {
		if there.PublicKey == peer && there.Endpoint != nil {
			again.Endpoint = addrPort(there.Endpoint)
		}
	}
	add := peerConfig(Step{op: addPeer, peer: again})
	if d.unreachable(add.Endpoint) {
		return fmt.Errorf("reset peer %s: %w", peer, ErrLinkLocalEndpoint)
	}
	err = d.backend.configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{
		peerConfig(Step{op: removePeer, peer: again}), add,
	}})
	if err != nil {
		return fmt.Errorf("reset peer %s: %w", peer, err)
	}
	return nil
}

// wanted finds a peer of the last Apply.
func (d *Device) wanted(peer wgtypes.Key) (*Peer, error) {
	if d.closed {
		return nil, ErrClosed
	}
	for i := range d.target.desired.Peers {
		if p := &d.target.desired.Peers[i]; p.PublicKey == peer {
			return p, nil
		}
	}
	return nil, ErrNoPeer
}

// Remove takes all away: link, with it addresses, routes and peers, the side
// port and the nftables tables.
func (d *Device) Remove() error { return d.end(true) }

// Detach gives up the side port and leaves the rest, kept ports too, to the next
// Open. An embedded device goes with its process, and all else but an exit, past
// which nothing may leave meanwhile.
func (d *Device) Detach() error { return d.end(false) }

func (d *Device) end(remove bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	close(d.done)
	d.created = remove || d.backend.kind() == Embedded
	var err error
	if d.created {
		err = d.backend.setKept(nil, &d.held)
	}
	err = errors.Join(err, d.openings.end(d, remove))
	if remove {
		_, exitErr := d.host.cleanExit(exitTableOf(d.config.Network))
		d.target.desired = Desired{}
		err = errors.Join(err, exitErr)
		d.applyHost()
	}
	return errors.Join(err, d.abandon())
}
