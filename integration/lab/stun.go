package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/stun/v2"
)

// STUNPort is the first port of a STUNServer; its second is the next one.
const STUNPort = 3478

// A STUNServer answers binding requests as RFC 8489 and RFC 5780 (behaviour discovery) say, on two addresses and two
// ports of each family.
type STUNServer struct {
	Addr  [2]netip.AddrPort // its two IPv4 addresses, each with the first port
	Addr6 [2]netip.AddrPort

	sockets []*stunSocket
	serving sync.WaitGroup
}

type stunSocket struct {
	*net.UDPConn
	local netip.AddrPort
	// The four sockets of the family by what is changed: neither, the port, the address, both.
	family [2][2]*stunSocket
	a, p   int // own place there
}

// StartSTUN serves on a public host with at least two addresses, until Close.
func (h *Host) StartSTUN() (*STUNServer, error) {
	s := &STUNServer{}
	for _, addresses := range [][]netip.Addr{h.IPv4(), h.IPv6()} {
		if len(addresses) < 2 {
			return nil, fmt.Errorf("start STUN on %s: it needs two addresses", h.Name)
		}
		var family [2][2]*stunSocket
		for a := range 2 {
			for p := range 2 {
				local := netip.AddrPortFrom(addresses[a], uint16(STUNPort+p))
				conn, err := h.ListenUDP(local)
				if err != nil {
					_ = s.Close()
					return nil, err
				}
				family[a][p] = &stunSocket{UDPConn: conn, local: local, a: a, p: p}
				s.sockets = append(s.sockets, family[a][p])
			}
		}
		for _, socket := range []*stunSocket{family[0][0], family[0][1], family[1][0], family[1][1]} {
			socket.family = family
		}
	}
	for a := range 2 {
		s.Addr[a] = netip.AddrPortFrom(h.IPv4()[a], STUNPort)
		s.Addr6[a] = netip.AddrPortFrom(h.IPv6()[a], STUNPort)
	}
	for _, socket := range s.sockets {
		s.serving.Go(socket.serve)
	}
	return s, nil
}

// Close stops it.
func (s *STUNServer) Close() error {
	var err error
	for _, socket := range s.sockets {
		err = errors.Join(err, socket.Close())
	}
	s.serving.Wait()
	return err
}

func (s *stunSocket) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := s.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !stun.IsMessage(buf[:size]) {
			continue
		}
		request := &stun.Message{Raw: buf[:size]}
		if request.Decode() != nil || request.Type != stun.BindingRequest {
			continue
		}
		reply, via := s.answer(request, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		_, _ = via.WriteToUDPAddrPort(reply.Raw, from)
	}
}

// answer builds the response and picks the socket that CHANGE-REQUEST asks for (RFC 5780, Section 7.2).
func (s *stunSocket) answer(request *stun.Message, from netip.AddrPort) (*stun.Message, *stunSocket) {
	a, p := s.a, s.p
	if change, err := request.Get(stun.AttrChangeRequest); err == nil && len(change) == 4 {
		if change[3]&4 != 0 {
			a = 1 - a
		}
		if change[3]&2 != 0 {
			p = 1 - p
		}
	}
	via := s.family[a][p]
	origin, other := via.local, s.family[1-s.a][1-s.p].local
	return stun.MustBuild(request, stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())},
		&stun.ResponseOrigin{IP: origin.Addr().AsSlice(), Port: int(origin.Port())},
		&stun.OtherAddress{IP: other.Addr().AsSlice(), Port: int(other.Port())},
		stun.Fingerprint,
	), via
}
