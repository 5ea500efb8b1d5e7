package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/credant/credant/dns/zone"
)

// A listener serves one address.
type listener struct {
	addr    netip.AddrPort
	packets *net.UDPConn
	streams *net.TCPListener

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	conns   map[*net.TCPConn]struct{}
}

func (l *listener) serve(s *Server) {
	l.conns = map[*net.TCPConn]struct{}{}
	l.running.Go(func() { l.serveUDP(s) })
	l.running.Go(func() { l.serveTCP(s) })
}

// close ends all that serve started and waits for it.
func (l *listener) close() {
	l.packets.Close()
	l.streams.Close()
	l.mu.Lock()
	l.closed = true
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

func (l *listener) serveUDP(s *Server) {
	buffer := make([]byte, zone.MaxQuery+1)
	for {
		n, from, err := l.packets.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(afterError)
			continue
		}
		from = unmapped(from)
		if !s.limits.mayAsk(from, l.addr.Addr(), s.table.Load(), time.Now()) {
			continue
		}
		if reply := s.table.Load().Reply(buffer[:n], true); reply != nil {
			// Who asked is free to go away.
			_, _ = l.packets.WriteToUDPAddrPort(reply, from)
		}
	}
}

func (l *listener) serveTCP(s *Server) {
	for {
		conn, err := l.streams.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(afterError) // no descriptor is free, for example
			continue
		}
		from := unmapped(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
		local := isLocal(from.Addr(), l.addr.Addr())
		if !s.limits.mayConnect(from, local, s.table.Load()) {
			_ = conn.SetLinger(0) // at once, and no state is left behind
			conn.Close()
			continue
		}
		if !l.keep(conn) {
			s.limits.disconnected(local)
			conn.Close()
			return
		}
		l.running.Go(func() {
			defer func() {
				l.forget(conn)
				s.limits.disconnected(local)
			}()
			l.serveConn(s, conn, from)
		})
	}
}

// serveConn answers query after query, in turn (RFC 7766, Section 6.2.1.1 wants several on one connection).
func (l *listener) serveConn(s *Server, conn *net.TCPConn, from netip.AddrPort) {
	var size [2]byte
	for range maxQueries {
		if conn.SetDeadline(time.Now().Add(idleConnection)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > zone.MaxQuery {
			return
		}
		query := make([]byte, n)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		if !s.limits.mayAsk(from, l.addr.Addr(), s.table.Load(), time.Now()) {
			return
		}
		reply := s.table.Load().Reply(query, false)
		if reply == nil {
			return
		}
		// In one segment: some resolvers read the size and the message by one call.
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func (l *listener) keep(conn *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[conn] = struct{}{}
	}
	return !l.closed
}

func (l *listener) forget(conn *net.TCPConn) {
	conn.Close()
	l.mu.Lock()
	delete(l.conns, conn)
	l.mu.Unlock()
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
