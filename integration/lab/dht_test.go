package lab

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
)

// What one host announces, another finds at nodes that the first did not ask: a DHT, not one node's memory.
func TestDHT(t *testing.T) {
	internet := New()
	nodes, alice, bob := internet.Host("dht"), internet.Host("alice"), internet.Host("bob")
	nodes.Addresses = 16
	build(t, internet)
	began := time.Now()
	dht, err := nodes.StartDHT(within(t, time.Minute))
	must(t, err)
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))

	a, b := newKRPC(t, alice), newKRPC(t, bob)
	infoHash := string(randomBytes(20))
	announced := 0
	for _, node := range a.closest(infoHash, dht.Bootstrap) {
		reply := a.ask(node, "get_peers", map[string]any{"info_hash": infoHash})
		if a.ask(node, "announce_peer", map[string]any{
			"info_hash": infoHash, "token": reply["token"], "port": 1, "implied_port": 1,
		}) != nil {
			announced++
		}
	}
	if announced < 4 {
		t.Fatalf("%d nodes took the announcement", announced)
	}
	local := a.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	want := string(append(alice.IPv4()[0].AsSlice(), byte(local.Port()>>8), byte(local.Port())))
	for _, node := range b.closest(infoHash, dht.Bootstrap) {
		values, _ := b.ask(node, "get_peers", map[string]any{"info_hash": infoHash})["values"].([]any)
		if slices.Contains(values, any(want)) {
			return
		}
	}
	t.Error("nobody told of the announcement")
}

// krpc asks DHT nodes (BEP 5), in the plainest way.
type krpc struct {
	t    *testing.T
	conn *net.UDPConn
}

func newKRPC(t *testing.T, host *Host) *krpc {
	conn, err := host.ListenUDP(netip.AddrPortFrom(host.IPv4()[0], 0))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &krpc{t: t, conn: conn}
}

// ask returns the reply's values, nil where none came.
func (k *krpc) ask(node netip.AddrPort, query string, args map[string]any) map[string]any {
	k.t.Helper()
	transaction := string(randomBytes(4))
	args["id"] = "an id of 20 bytes...."[:20]
	_, err := k.conn.WriteToUDPAddrPort(bencode.MustMarshal(map[string]any{
		"t": transaction, "y": "q", "q": query, "a": args, "ro": 1,
	}), node)
	must(k.t, err)
	must(k.t, k.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 1500)
	for {
		size, _, err := k.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return nil
		}
		var message map[string]any
		if bencode.Unmarshal(buf[:size], &message) != nil || message["t"] != transaction {
			continue
		}
		values, _ := message["r"].(map[string]any)
		return values
	}
}

// closest walks towards the hash, two steps being enough here, and returns up to 8 nodes there.
func (k *krpc) closest(infoHash string, from netip.AddrPort) []netip.AddrPort {
	k.t.Helper()
	distance := func(id string) string {
		b := []byte(id)
		for i := range b {
			b[i] ^= infoHash[i]
		}
		return string(b)
	}
	asked := map[netip.AddrPort]bool{}
	found := map[string]netip.AddrPort{} // by distance
	next := []netip.AddrPort{from}
	for range 3 {
		for _, node := range next {
			if asked[node] {
				continue
			}
			asked[node] = true
			compact, _ := k.ask(node, "get_peers", map[string]any{"info_hash": infoHash})["nodes"].(string)
			for ; len(compact) >= 26; compact = compact[26:] {
				addr, _ := netip.AddrFromSlice([]byte(compact[20:24]))
				found[distance(compact[:20])] = netip.AddrPortFrom(addr, uint16(compact[24])<<8|uint16(compact[25]))
			}
		}
		var distances []string
		for d := range found {
			distances = append(distances, d)
		}
		slices.Sort(distances)
		next = next[:0]
		for _, d := range distances[:min(8, len(distances))] {
			next = append(next, found[d])
		}
	}
	return next
}
