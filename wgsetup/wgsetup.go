package wgsetup

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Backend says which WireGuard a device runs on.
type Backend string

// The backends. The zero Backend is Auto.
const (
	Auto     Backend = "auto"     // kernel where it can be, else embedded
	Kernel   Backend = "kernel"   // the kernel's WireGuard
	Embedded Backend = "embedded" // wireguard-go in this process, on a TUN device
)

// DefaultMTU leaves room for WireGuard's 80 bytes over IPv6 in Ethernet's
// 1,500.
const DefaultMTU = 1420

// MinMTU is IPv6's least: under it the kernel takes a device's IPv6 addresses
// away.
const MinMTU = 1280

// Config says what Open makes.
type Config struct {
	Network    string      // required; becomes part of the device's mark
	Interface  string      // "": the one that carries the mark, else the first free credantN
	Backend    Backend     // zero: Auto
	PrivateKey wgtypes.Key // required
	// Port is WireGuard's UDP port; where it is taken, the next free one is
	// used instead. Zero keeps an adopted device's port, and else chooses a
	// random one outside the ephemeral range.
	Port uint16
	MTU  int // zero: DefaultMTU; at least MinMTU
	// FirewallMark is set on WireGuard's packets and the side port's. Zero is
	// Mark, which Desired.Exit takes whatever this is.
	FirewallMark int
	Log          *slog.Logger // nil: discarded
}

// Desired is what a Device should be. The zero Desired is a device without
// addresses, routes and peers.
type Desired struct {
	// Addresses are usually a /32 and a /128: the network's prefixes belong
	// into Routes.
	Addresses []netip.Prefix
	Routes    []netip.Prefix
	Peers     []Peer
	// Underlay has the ways to hosts outside of the network that are not to
	// be the host's own choice: one for each host.
	Underlay []UnderlayRoute
	// Subnets are networks behind peers, which have them among their
	// AllowedIPs. The host's own route to the same network is preferred.
	Subnets []netip.Prefix
	Forward *Forward // nil: forwards nothing
	Exit    *Exit    // nil: the host's default routes stay what they are
}

// Peer is a WireGuard peer as it should be.
type Peer struct {
	PublicKey    wgtypes.Key
	PresharedKey wgtypes.Key // zero: none
	// Endpoint is written only when the peer has none: afterwards WireGuard
	// itself follows the peer, and SetEndpoint moves it.
	Endpoint   netip.AddrPort
	AllowedIPs []netip.Prefix
	Keepalive  time.Duration // in whole seconds; zero: none
	// MTU is that of the routes to the peer's own addresses, the /32 and /128
	// among AllowedIPs: the longest packet that its path carries inside of
	// WireGuard's. Zero, and more than the device has, is the device's. Over
	// IPv6 it is never less than MinMTU.
	MTU int
}

// PeerState is what WireGuard says of a peer.
type PeerState struct {
	Endpoint      netip.AddrPort // zero: none yet
	LastHandshake time.Time      // zero: none yet
	RxBytes       int64
	TxBytes       int64
}

// SidePort is a node's second use of WireGuard's UDP port: it reads what
// arrives there and is not WireGuard's, and writes from there. It carries IPv4
// and IPv6; IPv4 addresses are never IPv4-mapped. It belongs to its Device;
// closing it frees blocked reads and leaves WireGuard alone.
type SidePort interface {
	net.PacketConn
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (n int, err error)
	// ReadOnUDPAddrPort is ReadFromUDPAddrPort and also returns the address
	// of this host that the datagram came to; invalid where the kernel did
	// not say.
	ReadOnUDPAddrPort(b []byte) (n int, from netip.AddrPort, on netip.Addr, err error)
	// WriteFromUDPAddrPort sends from an address of this host, and by the link
	// that has it, whichever way the host's routes prefer. It fails with
	// EADDRNOTAVAIL when the host has no such address. The zero from is
	// WriteToUDPAddrPort.
	WriteFromUDPAddrPort(b []byte, from netip.Addr, to netip.AddrPort) (n int, err error)
}

// Errors that callers branch on.
var (
	// ErrLinkLocalEndpoint means that the kernel cannot be given this
	// endpoint: the way to it has no place for an IPv6 zone. The embedded
	// backend takes any.
	ErrLinkLocalEndpoint = errors.New("the kernel's WireGuard cannot be given an IPv6 link-local endpoint")
	// ErrNoPeer means that the device has no such peer.
	ErrNoPeer = errors.New("no such peer")
	// ErrClosed means that the device was removed or detached.
	ErrClosed = errors.New("device is closed")
)

// aliasPrefix and a network's name are the mark of a device that is ours.
const aliasPrefix = "credant:"

func alias(network string) string { return aliasPrefix + network }

func marked(alias string) bool { return strings.HasPrefix(alias, aliasPrefix) }

// check refuses what no later step could make sense of and fills in defaults.
func (c *Config) check() error {
	if c.Network == "" || strings.ContainsAny(c.Network, " _\t\n") || len(c.Network) > 32 {
		return fmt.Errorf("open device: bad network name %q", c.Network)
	}
	if c.Interface != "" && (len(c.Interface) > 15 || strings.ContainsAny(c.Interface, "/ \t\n")) {
		return fmt.Errorf("open device: bad interface name %q: at most 15 characters, no blanks or slashes", c.Interface)
	}
	if c.PrivateKey == (wgtypes.Key{}) {
		return errors.New("open device: no private key")
	}
	if c.FirewallMark == 0 {
		c.FirewallMark = Mark
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < MinMTU || c.MTU > 65535 {
		return fmt.Errorf("open device: MTU %d is not from %d to 65535", c.MTU, MinMTU)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
