package lab

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A prober finds out what a NAT does as RFC 5780, Section 4, says, but with datagrams of its own: an echo server with
// two addresses and two ports tells where it was asked from, and sends from any of the four to there.
type prober struct {
	t       *testing.T
	servers [2][2]*net.UDPConn // by address, then port
	local   [2][2]netip.AddrPort
}

func newProber(t *testing.T, server *Host) *prober {
	p := &prober{t: t}
	for a, addr := range server.IPv4()[:2] {
		for port := range 2 {
			local := netip.AddrPortFrom(addr, uint16(7000+port))
			conn, err := server.ListenUDP(local)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			p.servers[a][port], p.local[a][port] = conn, local
		}
	}
	return p
}

func (p *prober) socket(h *Host, port uint16) *net.UDPConn {
	p.t.Helper()
	conn, err := h.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mapped sends from the host's socket to one of the servers and returns where that saw it come from.
func (p *prober) mapped(conn *net.UDPConn, a, port int) netip.AddrPort {
	p.t.Helper()
	if _, err := conn.WriteToUDPAddrPort([]byte("?"), p.local[a][port]); err != nil {
		p.t.Fatal(err)
	}
	from, ok := receive(p.t, p.servers[a][port], "?", patience)
	if !ok {
		p.t.Fatalf("no datagram came from %v to %v", conn.LocalAddr(), p.local[a][port])
	}
	return from
}

// reaches tells whether a datagram from one of the servers comes through to the host's socket, which has asked the first.
func (p *prober) reaches(conn *net.UDPConn, mapped netip.AddrPort, a, port int) bool {
	p.t.Helper()
	if _, err := p.servers[a][port].WriteToUDPAddrPort([]byte("probe"), mapped); err != nil {
		p.t.Fatal(err)
	}
	return p.comes(conn, mapped, "probe")
}

// comes tells whether a text that was sent comes through to the host's socket, which has asked the first server. That
// one's answer is sent after it, on the same way: when that is there, the text will hardly come any more.
func (p *prober) comes(conn *net.UDPConn, mapped netip.AddrPort, text string) bool {
	p.t.Helper()
	const last = "last"
	if _, err := p.servers[0][0].WriteToUDPAddrPort([]byte(last), mapped); err != nil {
		p.t.Fatal(err)
	}
	must(p.t, conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 64)
	for seen := false; ; {
		size, _, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			p.t.Fatalf("the answer of the one that was asked did not come through: %v", err)
		}
		switch string(buf[:size]) {
		case text:
			seen = true
		case last:
			if !seen { // it may have been overtaken by way of another processor
				_, seen = receive(p.t, conn, text, 100*time.Millisecond)
			}
			return seen
		}
	}
}

func receive(t *testing.T, conn *net.UDPConn, text string, wait time.Duration) (netip.AddrPort, bool) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return netip.AddrPort{}, false
		}
		if string(buf[:size]) == text {
			return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), true
		}
	}
}

// observe finds out all that NAT holds.
func (p *prober) observe(h, neighbour *Host) NAT {
	const port = 40000
	conn := p.socket(h, port)
	m := [3]netip.AddrPort{p.mapped(conn, 0, 0), p.mapped(conn, 0, 1), p.mapped(conn, 1, 0)}
	var n NAT
	switch {
	case m[0] == m[1] && m[1] == m[2]:
		n.Mapping, n.Ports = EndpointIndependent, PortsHashed
		if m[0].Port() == port {
			n.Ports = PortsPreserved
		}
	case m[0] == m[1]:
		n.Mapping = AddressDependent
	default:
		n.Mapping, n.Ports = AddressAndPortDependent, PortsRandom
		if m[1].Port() == m[0].Port()+1 && m[2].Port() == m[1].Port()+1 {
			n.Ports = PortsSequential
		}
	}

	fresh := p.socket(h, port+1)
	outer := p.mapped(fresh, 0, 0)
	n.Filtering = AddressAndPortDependent
	if p.reaches(fresh, outer, 0, 1) {
		n.Filtering = AddressDependent
	}
	if p.reaches(fresh, outer, 1, 1) {
		n.Filtering = EndpointIndependent
	}

	other := p.socket(neighbour, port)
	if _, err := other.WriteToUDPAddrPort([]byte("hairpin"), outer); err != nil {
		p.t.Fatal(err)
	}
	p.mapped(other, 0, 0) // by now the router has had it
	n.Hairpin = p.comes(fresh, outer, "hairpin")
	// A neighbour with the same inner port must not have taken the mapping over.
	if !p.reaches(conn, m[0], 0, 0) {
		p.t.Error("the mapping was lost to a neighbour with the same port")
	}
	return n
}

// Each router of the lab is the NAT that it says it is, in the words of RFC 4787.
func TestNATBehavior(t *testing.T) {
	for _, want := range []NAT{
		FullCone, AddressRestricted, PortRestricted, Symmetric,
		FullCone.HidePort(), AddressRestricted.HidePort(), PortRestricted.HidePort(),
		{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: PortsPreserved, Hairpin: true},
		{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortsSequential},
	} {
		t.Run(want.String(), func(t *testing.T) {
			internet := New()
			router := internet.NAT("router", want)
			inside, neighbour := router.Host("inside"), router.Host("neighbour")
			server := internet.Host("server")
			server.Addresses = 2
			build(t, internet)
			got := newProber(t, server).observe(inside, neighbour)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("behavior (-want +got):\n%s", diff)
			}
		})
	}
}

// A host's sockets do not get in each other's way where ports are hashed.
func TestHashedPortsDiffer(t *testing.T) {
	internet := New()
	inside := internet.NAT("router", PortRestricted.HidePort()).Host("inside")
	server := internet.Host("server")
	server.Addresses = 2
	build(t, internet)
	p := newProber(t, server)
	seen := make(map[netip.AddrPort]bool)
	for i := range uint16(20) {
		seen[p.mapped(p.socket(inside, 33000+619*i), 0, 0)] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 sockets are seen as %d", len(seen))
	}
}

// Two NATs in a row behave like the stricter of both (carrier-grade NAT).
func TestDoubleNAT(t *testing.T) {
	for _, c := range []struct{ inner, outer, want NAT }{
		{FullCone, PortRestricted, PortRestricted},
		{FullCone, FullCone, FullCone},
		{FullCone, Symmetric, Symmetric},
	} {
		t.Run(c.inner.String()+" behind "+c.outer.String(), func(t *testing.T) {
			internet := New()
			carrier := internet.NAT("carrier", c.outer)
			carrier.LAN = netip.MustParsePrefix("100.64.0.0/24")
			home := carrier.Router("home", c.inner)
			inside, neighbour := home.Host("inside"), home.Host("neighbour")
			server := internet.Host("server")
			server.Addresses = 2
			build(t, internet)
			if diff := cmp.Diff(c.want, newProber(t, server).observe(inside, neighbour)); diff != "" {
				t.Errorf("behavior (-want +got):\n%s", diff)
			}
		})
	}
}

// A datagram that came from outside too early does not move the port of a later punch to its sender.
func TestEarlyDatagramDoesNotMoveMapping(t *testing.T) {
	internet := New()
	inside := internet.NAT("router", PortRestricted).Host("inside")
	server := internet.Host("server")
	server.Addresses = 2
	build(t, internet)
	p := newProber(t, server)
	conn := p.socket(inside, 40000)
	outer := p.mapped(conn, 0, 0)
	if p.reaches(conn, outer, 1, 0) {
		t.Fatal("the NAT does not filter")
	}
	if got := p.mapped(conn, 1, 0); got != outer {
		t.Errorf("mapped to %v after an early datagram, to %v before", got, outer)
	}
}

func TestUDPBlocked(t *testing.T) {
	reject := UDPBlocked
	reject.Reject = true
	for _, nat := range []NAT{UDPBlocked, reject} {
		internet := New()
		inside := internet.NAT("router", nat).Host("inside")
		server := internet.Host("server")
		server.Addresses = 2
		build(t, internet)
		p := newProber(t, server)

		var conn *net.UDPConn
		err := inside.Do(func() (err error) {
			conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.local[0][0]))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		wait := 200 * time.Millisecond // for nothing
		if nat.Reject {
			wait = patience
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		_, err = conn.Read(make([]byte, 8))
		if told := err != nil && !strings.Contains(err.Error(), "timeout"); told != nat.Reject {
			t.Errorf("reject %v: %v", nat.Reject, err)
		}
		if _, ok := receive(t, p.servers[0][0], "?", 100*time.Millisecond); ok {
			t.Error("UDP got through")
		}

		for port, want := range map[string]bool{"443": true, "444": false} {
			if got := tcpWorks(t, inside, server, port, want); got != want {
				t.Errorf("TCP to port %s: %v, want %v", port, got, want)
			}
		}
	}
}

func tcpWorks(t *testing.T, from, to *Host, port string, expected bool) bool {
	t.Helper()
	wait := 200 * time.Millisecond
	if expected {
		wait = patience
	}
	address := net.JoinHostPort(to.IPv4()[0].String(), port)
	var listener net.Listener
	if err := to.Do(func() (err error) { listener, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return from.Do(func() error {
		conn, err := net.DialTimeout("tcp", address, wait)
		if err != nil {
			return err
		}
		return conn.Close()
	}) == nil
}
