package relayd

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/client"
	"github.com/credant/credant/relay/wire"
)

// patience is how long a test waits for what should come at once, on a machine that has much else to do.
const patience = time.Minute

func newNetwork(t testing.TB) keys.NetworkKey {
	t.Helper()
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	k, err := keys.ParseNetworkKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A node is a client of the relay with a socket, and nothing of a mesh.
type node struct {
	t    testing.TB
	conn *net.UDPConn
	key  keys.NodePrivate

	calls   chan func(*client.Client)
	outputs chan client.Output // but sends
	data    chan packet        // what is not the relay's own
}

type packet struct {
	from netip.AddrPort
	data string
}

// startNode starts a node that has the network's key and one address of the
// relay. It ends with the test.
func startNode(t testing.TB, network keys.NetworkKey, at string, server client.Server) *node {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(at), 0)))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, conn: conn, key: keys.GenerateNode(),
		calls: make(chan func(*client.Client)), outputs: make(chan client.Output, 1024), data: make(chan packet, 1024),
	}
	config := client.Config{Network: network.ID(), Sign: network.SignID, Node: n.key}
	ctx, cancel := context.WithCancel(context.Background())
	read, ended := make(chan packet, 64), make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 2048)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(b)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				read <- packet{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), string(b[:size])}
			}
		}
	}()
	go func() {
		defer close(ended)
		n.run(ctx, client.New(config, server), read)
	}()
	t.Cleanup(func() {
		cancel()
		conn.Close()
		<-ended
		for range read { // until its reader has ended
		}
	})
	return n
}

func (n *node) run(ctx context.Context, c *client.Client, read <-chan packet) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-read:
			if wire.IsRelay([]byte(p.data)) {
				c.Receive(time.Now(), p.from, []byte(p.data))
			} else {
				n.data <- p
			}
		case f := <-n.calls:
			f(c)
		case <-timer.C:
		}
		for _, o := range c.Advance(time.Now()) {
			if s, ok := o.(client.Send); ok {
				_, _ = n.conn.WriteToUDPAddrPort(s.Data, s.To)
			} else {
				n.outputs <- o
			}
		}
		if at, ok := c.Next(); ok {
			timer.Reset(max(0, time.Until(at)))
		}
	}
}

// do runs f where the client is.
func (n *node) do(f func(*client.Client)) {
	done := make(chan struct{})
	n.calls <- func(c *client.Client) { defer close(done); f(c) }
	<-done
}

// await returns the first output that is accepted, and forgets those before it.
func await[T client.Output](n *node, accept func(T) bool) T {
	n.t.Helper()
	timeout := time.After(patience)
	var seen []string
	for {
		select {
		case o := <-n.outputs:
			if v, ok := o.(T); ok && accept(v) {
				return v
			}
			seen = append(seen, fmt.Sprintf("%T%+v", o, o))
		case <-timeout:
			var want T
			n.t.Fatalf("no %T; the client said %v", want, seen)
		}
	}
}

func always[T any](T) bool { return true }

// send sends to the peer through the port of the relay that is theirs.
func (n *node) send(relay netip.AddrPort, b []byte) {
	n.t.Helper()
	if _, err := n.conn.WriteToUDPAddrPort(b, relay); err != nil {
		n.t.Fatal(err)
	}
}

// gets waits for a datagram, which must come from the port of the relay.
func (n *node) gets(relay netip.AddrPort, want []byte) {
	n.t.Helper()
	select {
	case p := <-n.data:
		if p.from != relay || p.data != string(want) {
			n.t.Fatalf("got %x from %v, want %x from %v", p.data, p.from, want, relay)
		}
	case <-time.After(patience):
		n.t.Fatalf("nothing from %v", relay)
	}
}

// wireguard is a keepalive of WireGuard by its form, and the number n.
func wireguard(n byte) []byte { return append([]byte{4, 0, 0, 0, 31: 0}[:31], n) }

// pair makes two nodes each other's peers and returns where the relay has each,
// once both ends are bound.
func pair(a, b *node) (atA, atB netip.AddrPort) {
	a.t.Helper()
	for _, n := range []struct{ of, peer *node }{{a, b}, {b, a}} {
		n.of.do(func(c *client.Client) { c.SetPeers(time.Now(), []keys.NodePublic{n.peer.key.Public()}) })
	}
	ready := func(b client.Bound) bool { return b.Ready }
	return await(a, ready).Addr, await(b, ready).Addr
}
