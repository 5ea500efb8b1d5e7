package dns

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/credant/credant/dns/zone"
)

// neighbours are a host with a server and another machine on its LAN, which has an address of the overlay, too.
func neighbours(t *testing.T) (server, other *host) {
	server, other = newHost(t, "10.7.0.1/32"), newHost(t)
	server.connect(other, "lan")
	server.add("lan", "192.0.2.1/24", "10.7.5.1/24")
	other.add("lan", "192.0.2.2/24", "10.7.5.2/24")
	server.serve(overlay4, "10.7.5.1:53", "192.0.2.1:53")
	return server, other
}

// The overlay gets answers, the LAN does not, whichever address it asks.
func TestSources(t *testing.T) {
	server, other := neighbours(t)
	for _, network := range []string{"udp", "tcp"} {
		if answer := exchange(t, other.dial(network, "10.7.5.2", "10.7.5.1:53"), question("nas")); len(answer.Answer) != 1 {
			t.Errorf("%s from the overlay: %v", network, answer)
		}
	}
	for _, to := range []string{"10.7.5.1:53", "192.0.2.1:53"} {
		stranger := other.dial("udp", "192.0.2.2", to)
		packed, err := question("nas").Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Write(packed); err != nil {
			t.Fatal(err)
		}
		// What comes after it through the same socket has been answered: so the server has seen both.
		exchange(t, other.dial("udp", "10.7.5.2", "10.7.5.1:53"), question("nas"))
		server.answers(to)
		_ = stranger.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := stranger.Read(make([]byte, 512)); err == nil {
			t.Errorf("%d bytes to a stranger from %s", n, to)
		}

		other.refused("192.0.2.2", to)
	}
}

// refused connects, and wants the connection ended at once; so soon that the dialer may already see it.
func (h *host) refused(from, to string) {
	h.t.Helper()
	h.do(func() {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		if conn, err := d.DialContext(h.t.Context(), "tcp", to); err == nil {
			closed(h.t, conn)
			conn.Close()
		}
	})
}

// closed waits for the other side to end the connection, without a word.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 512)); err == nil || isTimeout(err) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// Other machines have few connections, whatever they do, and this host's go on meanwhile.
func TestConnectionsOfOthers(t *testing.T) {
	server, other := neighbours(t)
	var open []net.Conn
	for range maxRemoteConnections {
		conn := other.dial("tcp", "10.7.5.2", "10.7.5.1:53")
		exchange(t, conn, question("nas"))
		open = append(open, conn)
	}
	other.refused("10.7.5.2", "10.7.5.1:53")
	server.answers("10.7.5.1:53")

	open[0].Close()
	var answer *dns.Msg
	for end := time.Now().Add(patience); answer == nil; {
		if time.Now().After(end) {
			t.Fatal("a place that became free is not given again")
		}
		other.do(func() {
			c := &dns.Client{Net: "tcp", Timeout: patience, Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("10.7.5.2")}}}
			answer, _, _ = c.Exchange(question("nas"), "10.7.5.1:53")
		})
	}
}

// Messages that are no queries end a connection; several at once are answered in turn.
func TestStreams(t *testing.T) {
	h := overlayHost(t)
	h.serve(overlay4)
	for what, bytes := range map[string][]byte{
		"too long":           binary.BigEndian.AppendUint16(nil, zone.MaxQuery+1),
		"empty":              {0, 0},
		"less than a header": {0, 3, 1, 2, 3},
		"a response":         append([]byte{0, 12, 0, 1, 0x80}, make([]byte, 9)...),
	} {
		t.Run(what, func(t *testing.T) {
			conn := h.dial("tcp", "", overlay4)
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			closed(t, conn)
		})
	}

	packed, err := question("many").Pack()
	if err != nil {
		t.Fatal(err)
	}
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
	conn := h.dial("tcp", "", overlay4)
	_ = conn.SetDeadline(time.Now().Add(patience))
	for i := range framed { // byte by byte
		if _, err := conn.Write(framed[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(append(framed, framed...)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if answer, err := (&dns.Conn{Conn: conn}).ReadMsg(); err != nil || len(answer.Answer) != zone.MaxAddresses {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	if _, err := conn.Write(framed[:5]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Errorf("half a query: %x, %v", rest, err)
	}
}

// Others' queries are bounded, this host's are not.
func TestRate(t *testing.T) {
	l := newLimits()
	from, local := addrPorts("10.7.5.2:1000")[0], addrPorts("10.7.0.1:1000")[0]
	to, now := addrPorts(overlay4)[0].Addr(), time.Now()
	allowed := 0
	for range 10 * remoteBurst {
		if l.mayAsk(from, to, home, now) {
			allowed++
		}
		if !l.mayAsk(local, to, home, now) {
			t.Fatal("this host may not ask")
		}
	}
	if allowed != remoteBurst {
		t.Errorf("%d queries of others at once", allowed)
	}
	if !l.mayAsk(from, to, home, now.Add(time.Second)) {
		t.Error("never again")
	}
	for _, bad := range addrPorts("10.7.0.1:0", "192.0.2.1:1000", "[2001:db8::1]:1000") {
		if l.mayAsk(bad, to, home, now.Add(time.Hour)) {
			t.Errorf("%v may ask", bad)
		}
	}
}
