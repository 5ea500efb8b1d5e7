package stunserver

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Reasons for which a request gets no answer; keys of Drops.
const (
	DropMalformed   = "malformed"
	DropNotBinding  = "not-a-binding-request"
	DropFingerprint = "bad-fingerprint"
	DropSource      = "bad-source" // an address that nobody can have
	DropRateLimited = "rate-limited"
)

var reasons = [...]string{DropMalformed, DropNotBinding, DropFingerprint, DropSource, DropRateLimited}

// firstResponsePort is the least that RESPONSE-PORT may ask for: nobody's service
// is to hear from us.
const firstResponsePort = 1024

// Config says where the server answers.
type Config struct {
	// Addrs are its own addresses; the first two of a family serve RFC 5780.
	// SetAddrs changes them.
	Addrs []netip.Addr
	// Ports are the first and the second port: 3478 and 3479. With one port, or
	// zero for the second, there is no RFC 5780.
	Ports []uint16
}

// A Server answers Binding requests. It may be used by several goroutines.
type Server struct {
	addrs  atomic.Pointer[addresses]
	ports  [2]uint16 // zero: only one
	limits limiter
	drops  [len(reasons)]atomic.Uint64
}

// addresses are one or two of a family; with one there is no RFC 5780.
type addresses struct{ ipv4, ipv6 []netip.Addr }

// New returns a server.
func New(c Config) *Server {
	s := &Server{}
	copy(s.ports[:], c.Ports)
	s.SetAddrs(c.Addrs)
	return s
}

// SetAddrs says at which addresses the server answers from now on.
func (s *Server) SetAddrs(addrs []netip.Addr) {
	own := new(addresses)
	defer s.addrs.Store(own)
	if s.ports[0] == 0 || s.ports[1] == 0 || s.ports[0] == s.ports[1] {
		return
	}
	for _, addr := range addrs {
		addr = addr.Unmap()
		family := &own.ipv4
		if addr.Is6() {
			family = &own.ipv6
		}
		if addr.IsValid() && !addr.IsUnspecified() && !slices.Contains(*family, addr) && len(*family) < 2 {
			*family = append(*family, addr)
		}
	}
}

// Respond answers a datagram that came to the own address at. The response, which
// is the caller's, must leave from the own address leave and go to to: that is
// from, or another port of its address where the request asks for that. It is not
// ok when there is nothing to send; Drops counts why.
func (s *Server) Respond(now time.Time, datagram []byte, at, from netip.AddrPort) (response []byte, leave, to netip.AddrPort, ok bool) {
	r, drop := parseRequest(datagram)
	if drop == "" && !canReceive(from) {
		drop = DropSource
	}
	if drop == "" && !s.limits.take(now, from.Addr()) {
		drop = DropRateLimited
	}
	if drop != "" {
		s.drops[slices.Index(reasons[:], drop)].Add(1)
		return nil, netip.AddrPort{}, netip.AddrPort{}, false
	}

	other, discovery := s.other(at, from)
	if !discovery {
		r.unknown = append(r.unknown, r.discovers()...)
	}
	b := make([]byte, 0, 160+r.padding)
	switch {
	case len(r.unknown) > 0:
		b = appendHeader(b, bindingError, r.transaction)
		b = appendUnknown(appendError(b, 420, "Unknown Attribute"), r.unknown)
		return finish(b, r.fingerprint), at, from, true
	case r.responsePort != 0 && (r.padded || r.responsePort < firstResponsePort):
		b = appendError(appendHeader(b, bindingError, r.transaction), 400, "Bad Request")
		return finish(b, r.fingerprint), at, from, true
	}

	leave, to = at, from
	if r.changeIP {
		leave = netip.AddrPortFrom(other.Addr(), leave.Port())
	}
	if r.changePort {
		leave = netip.AddrPortFrom(leave.Addr(), other.Port())
	}
	if r.responsePort != 0 {
		to = netip.AddrPortFrom(from.Addr(), r.responsePort)
	}
	b = appendHeader(b, bindingResponse, r.transaction)
	b = appendAddress(b, attrXORMappedAddress, from, [16]byte(b[4:headerSize]))
	if discovery {
		b = appendAddress(b, attrMappedAddress, from, [16]byte{})
		b = appendAddress(b, attrResponseOrigin, leave, [16]byte{})
		b = appendAddress(b, attrOtherAddress, other, [16]byte{})
	}
	if r.padded {
		b = appendAttr(b, attrPadding, r.padding)
		b = pad(append(b, make([]byte, r.padding)...))
	}
	return finish(b, r.fingerprint), leave, to, true
}

// other returns OTHER-ADDRESS for what came to at: the other address and the
// other port (RFC 5780, Section 7.4).
func (s *Server) other(at, from netip.AddrPort) (netip.AddrPort, bool) {
	own := s.addrs.Load()
	family := own.ipv4
	if at.Addr().Is6() {
		family = own.ipv6
	}
	i, p := slices.Index(family, at.Addr()), slices.Index(s.ports[:], at.Port())
	if len(family) < 2 || i < 0 || p < 0 {
		return netip.AddrPort{}, false
	}
	other := family[1-i]
	if !isPublic(other) && isPublic(from.Addr()) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(other, s.ports[1-p]), true
}

// Drops returns how many datagrams got no answer, by reason.
func (s *Server) Drops() map[string]uint64 {
	drops := make(map[string]uint64, len(reasons))
	for i, reason := range reasons {
		drops[reason] = s.drops[i].Load()
	}
	return drops
}

func canReceive(from netip.AddrPort) bool {
	a := from.Addr()
	return from.Port() != 0 && a.IsValid() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedAddresses.Contains(a)
}

// sharedAddresses are carriers' (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")
