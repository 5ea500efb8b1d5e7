package scenario

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
	"github.com/credant/credant/relay/client"
	"github.com/credant/credant/relay/wire"
)

// A guest is a node of some network as a relay sees it, without a tunnel: the real client and a socket.
type guest struct {
	network keys.NetworkKey
	node    keys.NodePrivate
	conn    *net.UDPConn

	mu     sync.Mutex
	client *client.Client
}

// network makes a network out of nothing, as anybody can.
func (w *world) network() keys.NetworkKey {
	w.t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(rand.Uint32())
	}
	key, err := keys.ParseNetworkKey(secret)
	w.must(err)
	return key
}

// guest starts one on the host, until the test ends: it registers and wants an allocation with each of the peers.
func (w *world) guest(h *lab.Host, r *member.Relay, network keys.NetworkKey, node keys.NodePrivate, peers ...keys.NodePublic) *guest {
	w.t.Helper()
	server, err := wire.ParseServerAddress(r.Address())
	w.must(err)
	conn, err := h.ListenUDP(netip.AddrPortFrom(h.IPv4()[0], 0))
	w.must(err)
	g := &guest{network: network, node: node, conn: conn}
	g.client = client.New(
		client.Config{Network: network.ID(), Sign: network.SignID, Node: node},
		client.Server{Key: server.Key, Addrs: []netip.AddrPort{netip.AddrPortFrom(r.Host.IPv4()[0], server.Port)}})
	g.client.SetBlob(time.Now(), make([]byte, wire.MaxBlob))
	g.client.SetPeers(time.Now(), peers)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.run()
	}()
	w.t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return g
}

func (g *guest) run() {
	b := make([]byte, 2048)
	for {
		g.mu.Lock()
		for _, o := range g.client.Advance(time.Now()) {
			if send, ok := o.(client.Send); ok {
				_, _ = g.conn.WriteToUDPAddrPort(send.Data, send.To)
			}
		}
		next, ok := g.client.Next()
		g.mu.Unlock()
		if !ok {
			next = time.Now().Add(time.Second)
		}
		_ = g.conn.SetReadDeadline(next)
		n, from, err := g.conn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return
		default:
			g.mu.Lock()
			g.client.Receive(time.Now(), from, b[:n])
			g.mu.Unlock()
		}
	}
}

func (g *guest) status() client.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.client.Status()
}

// served tells whether the guest is registered and has its allocations bound on both sides.
func (g *guest) served() bool {
	s := g.status()
	all := s.Registered
	for _, a := range s.Allocations {
		all = all && a.Ready
	}
	return all
}

// metrics are the relay's, by name and labels. It must serve them on metricsAt.
func (w *world) metrics(r *member.Relay) map[string]float64 {
	w.t.Helper()
	var text []byte
	w.must(r.Host.Do(func() error {
		conn, err := net.DialTimeout("tcp", metricsAt, 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		text, err = io.ReadAll(conn)
		return err
	}))
	all := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, ours := strings.CutPrefix(line, "credant_relay_")
		end := strings.LastIndexByte(name, ' ')
		if !ours || end < 0 {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(name[end+1:], &value); err == nil {
			all[name[:end]] = value
		}
	}
	if len(all) == 0 {
		w.t.Fatalf("no metrics in: %s", text)
	}
	return all
}

const metricsAt = "127.0.0.1:9478"

// about says of a relay's metrics what they say of a flood.
func about(metrics map[string]float64) string {
	var s strings.Builder
	for name, n := range metrics {
		if n > 0 && (strings.HasPrefix(name, "drops") || strings.HasPrefix(name, "requests") || strings.HasPrefix(name, "challenges") || strings.HasPrefix(name, "resets")) {
			fmt.Fprintf(&s, "%s %.0f, ", name, n)
		}
	}
	return s.String()
}
