package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/credant/credant/dns/zone"
)

const (
	overlay4, overlay6 = "10.7.0.1:53", "[fd12:3456:789a::1]:53"
	loopback           = "127.99.1.1:53"
)

func overlayHost(t *testing.T) *host { return newHost(t, "10.7.0.1/32", "fd12:3456:789a::1/128") }

func question(name string) *dns.Msg {
	return new(dns.Msg).SetQuestion(name+".home.internal.", dns.TypeA)
}

// exchange asks until there is an answer; over UDP a question may get lost.
func exchange(t *testing.T, conn net.Conn, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Conn{Conn: conn}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := c.WriteMsg(q); err != nil {
			t.Fatalf("ask: %v", err)
		}
		if answer, err := c.ReadMsg(); err == nil {
			return answer
		} else if conn.RemoteAddr().Network() == "tcp" {
			t.Fatalf("read answer: %v", err)
		}
	}
	t.Fatalf("no answer from %v by %s", conn.RemoteAddr(), conn.RemoteAddr().Network())
	return nil
}

// answers asks for nas at the address by UDP and TCP.
func (h *host) answers(addr string) {
	h.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		answer := exchange(h.t, h.dial(network, "", addr), question("nas"))
		if answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 1 {
			h.t.Errorf("%s %s: %v", network, addr, answer)
		}
	}
}

func served(t *testing.T, s *Server, want ...string) {
	t.Helper()
	if got := s.Addrs(); !slices.Equal(got, addrPorts(want...)) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestServe(t *testing.T) {
	h := overlayHost(t)
	s, _ := h.serve(overlay6, overlay4, loopback)
	served(t, s, overlay6, overlay4)
	h.answers(overlay6)
	h.answers(overlay4)

	q := question("many")
	if answer := exchange(t, h.dial("udp", "", overlay4), q); !answer.Truncated || len(answer.Answer) != 0 {
		t.Errorf("a long answer by UDP: %v", answer)
	}
	conn := h.dial("tcp", "", overlay4)
	for range 3 { // on one connection
		if answer := exchange(t, conn, q); answer.Truncated || len(answer.Answer) != zone.MaxAddresses {
			t.Errorf("a long answer by TCP: %v", answer)
		}
	}

	s.SetZone(zone.New(zone.Zone{Network: "home"}))
	if answer := exchange(t, conn, question("nas")); answer.Rcode != dns.RcodeNameError {
		t.Errorf("after its node went: %v", answer)
	}
}

// A server without a table refuses, and one that does not run serves nothing.
func TestEmpty(t *testing.T) {
	s := NewServer(Config{Listen: addrPorts(overlay4)})
	served(t, s)
	if reply := s.table.Load().Reply([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"), true); reply[3]&15 != dns.RcodeRefused {
		t.Errorf("reply %x", reply)
	}
}

// Addresses may come after the server, and go and come back.
func TestAddressOnItsWay(t *testing.T) {
	h := newHost(t)
	s, _ := h.serve(overlay6, overlay4)
	served(t, s, overlay6, overlay4)
	for range 2 {
		h.add("lo", "10.7.0.1/32", "fd12:3456:789a::1/128")
		h.answers(overlay6)
		h.answers(overlay4)
		h.do(func() {
			for _, a := range []string{"10.7.0.1/32", "fd12:3456:789a::1/128"} {
				lo, err := netlink.LinkByName("lo")
				h.must(err)
				addr, err := netlink.ParseAddr(a)
				h.must(err)
				h.must(netlink.AddrDel(lo, addr))
			}
		})
	}
}

// Where other programs have the port, there is somewhere else; and back when they are gone and one asks for it.
func TestPortTaken(t *testing.T) {
	for _, c := range []struct {
		what  string
		taken []string // network and address
		want  []string
	}{
		{"one address", []string{"udp", overlay4}, []string{overlay6}},
		{"one address, TCP only", []string{"tcp", overlay6}, []string{overlay4}},
		{"both addresses", []string{"udp", overlay4, "tcp", overlay6}, []string{loopback}},
		{"all of IPv4", []string{"udp4", "0.0.0.0:53"}, []string{overlay6}},
		{"everything", []string{"udp", "[::]:53"}, []string{"[fd12:3456:789a::1]:10053", "10.7.0.1:10053"}},
		{"everything, and the other port", []string{"udp", "[::]:53", "tcp", "[::]:10053"}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := overlayHost(t)
			var taken []interface{ Close() error }
			free := func() {
				for _, l := range taken {
					l.Close()
				}
			}
			defer free()
			h.do(func() {
				for i := 0; i < len(c.taken); i += 2 {
					var l interface{ Close() error }
					var err error
					if c.taken[i] == "tcp" {
						l, err = net.Listen("tcp", c.taken[i+1])
					} else {
						l, err = net.ListenPacket(c.taken[i], c.taken[i+1])
					}
					h.must(err)
					taken = append(taken, l)
				}
			})
			s, changes := h.serve(overlay6, overlay4, loopback)
			served(t, s, c.want...)
			for _, addr := range c.want {
				h.answers(addr)
			}
			free()
			s.Rebind(addrPorts(overlay6, overlay4, loopback))
			wait(t, changes)
			served(t, s, overlay6, overlay4)
			h.answers(overlay6)
			h.answers(overlay4)
		})
	}
}

// What another program had is taken when it is gone, without anybody asking for it.
func TestPortComesFree(t *testing.T) {
	h := overlayHost(t)
	h.retry = 20 * time.Millisecond
	var other net.PacketConn
	h.do(func() {
		var err error
		other, err = net.ListenPacket("udp", "[::]:53")
		h.must(err)
	})
	s, changes := h.serve(overlay6, overlay4, loopback)
	served(t, s, "[fd12:3456:789a::1]:10053", "10.7.0.1:10053")
	time.Sleep(5 * h.retry) // tried in vain
	h.answers("10.7.0.1:10053")
	other.Close()
	for got := []netip.AddrPort(nil); !slices.Equal(got, addrPorts(overlay6, overlay4)); {
		got = wait(t, changes)
	}
	h.answers(overlay6)
	h.answers(overlay4)
}

func TestRebind(t *testing.T) {
	h := overlayHost(t)
	h.add("lo", "10.7.0.2/32")
	s, changes := h.serve(overlay6, overlay4, loopback)
	stays, goes := h.dial("tcp", "", overlay6), h.dial("tcp", "", overlay4)
	exchange(t, stays, question("nas"))
	exchange(t, goes, question("nas"))

	s.Rebind(addrPorts("10.7.0.2:53", overlay6, loopback))
	if got := wait(t, changes); !slices.Equal(got, addrPorts("10.7.0.2:53", overlay6)) {
		t.Errorf("served %v", got)
	}
	h.answers("10.7.0.2:53")
	h.answers(overlay6)
	exchange(t, stays, question("nas"))
	_ = goes.SetReadDeadline(time.Now().Add(patience))
	if _, err := goes.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection to an address that is served no more: %v", err)
	}

	s.Rebind(addrPorts(loopback))
	wait(t, changes)
	served(t, s, loopback)
	h.answers(loopback)

	// The wildcard is never served.
	s.Rebind(addrPorts("0.0.0.0:53", "[::]:53"))
	wait(t, changes)
	served(t, s)
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// Two networks on a host have servers of their own, also where both have to go to the loopback.
func TestTwoNetworks(t *testing.T) {
	h := newHost(t, "10.7.0.1/32", "10.8.0.1/32")
	a, b := Loopback("home"), Loopback("office")
	if a == b || !a.Addr().IsLoopback() || a.Port() != 53 || a.Addr().As4()[1] < 64 {
		t.Fatalf("loopback addresses %v, %v", a, b)
	}
	h.serve(overlay4, a.String())
	h.serve("10.8.0.1:53", b.String())
	h.answers(overlay4)
	h.answers("10.8.0.1:53")
	h.serve(a.String())
	h.serve(b.String())
	h.answers(a.String())
	h.answers(b.String())
}

// What comes while the table changes and the addresses, too, is answered or refused, not mixed up.
func TestChangesUnderLoad(t *testing.T) {
	h := overlayHost(t)
	s, _ := h.serve(overlay6, overlay4)
	conns := []net.Conn{h.dial("udp", "", overlay4), h.dial("udp", "", overlay6)}
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for _, conn := range conns {
		asking.Go(func() {
			for ctx.Err() == nil {
				_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
				c := &dns.Conn{Conn: conn}
				if c.WriteMsg(question("nas")) != nil {
					continue // nobody there for the moment
				}
				if answer, err := c.ReadMsg(); err == nil && answer.Rcode == dns.RcodeSuccess && len(answer.Answer) != 1 {
					t.Errorf("answer %v", answer)
				}
			}
		})
	}
	for i := range 200 {
		table := home
		if i%2 == 1 {
			table = zone.New(zone.Zone{})
		}
		s.SetZone(table)
		s.Rebind(addrPorts([]string{overlay4, overlay6}[i%2:]...))
		_ = s.Addrs()
	}
	cancel()
	asking.Wait()
	s.SetZone(home)
	s.Rebind(addrPorts(overlay4))
	for end := time.Now().Add(patience); !slices.Equal(s.Addrs(), addrPorts(overlay4)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("served at last: %v", s.Addrs())
		}
	}
	h.answers(overlay4)
}

func TestLoopbackIsStable(t *testing.T) {
	if got, want := Loopback("home"), netip.MustParseAddrPort("127.85.100.21:53"); got != want {
		t.Errorf("%v, want %v: it is in users' settings", got, want)
	}
}
