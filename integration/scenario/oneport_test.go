package scenario

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/natpunch/demux"
)

// Towards the internet a node uses one UDP port, and only WireGuard, STUN, DHT and sealed datagrams ride on it. From
// others it measures the NAT, for a while after the start, and asks the router for its port.
func TestOnePort(t *testing.T)       { onePort(t, "embedded") }
func TestKernelOnePort(t *testing.T) { onePort(t, "kernel") }

func onePort(t *testing.T, backend string) {
	w := newWorld(t, backend)
	a := w.join(w.NAT("home", lab.PortRestricted.HidePort()).Host("alice"))
	b := w.join(w.NAT("office", lab.PortRestricted.HidePort()).Host("bob"))
	dht, stunHost := w.addDHT(), w.Host("stun")
	stunHost.Addresses = 2
	w.build()
	w.startDHT(dht)
	w.startSTUN(stunHost)
	w.flags = append(w.flags, "--no-lan")
	capture, err := a.Host.Capture("eth0")
	w.must(err)

	status := a.up()
	b.up()
	b.reach(a, 10*time.Second)
	a.reach(b, time.Second)
	// STUN and the DHT have their say, too.
	seen := map[demux.Kind]int{}
	checked := 0
	w.eventually(20*time.Second, "all four kinds are seen", func() bool {
		packets := capture.Packets()
		for _, p := range packets[checked:] {
			if problem := strange(p, status.Port); problem != "" {
				t.Errorf("%s: %v", problem, p)
			}
			if p.Protocol == unix.IPPROTO_UDP {
				seen[demux.Classify(p.Payload)]++
			}
		}
		checked = len(packets)
		return seen[demux.WireGuard] > 0 && seen[demux.STUN] > 0 && seen[demux.DHT] > 0 && seen[demux.CredAnt] > 0
	})
	t.Logf("datagrams on port %d: %v", status.Port, seen)
}

// toRouter tells what PCP, NAT-PMP and UPnP say, which stays on the link.
func toRouter(p lab.Packet) bool {
	const pcp, ssdp = 5351, 1900
	return p.Outgoing && slices.Contains([]uint16{pcp, ssdp}, p.Dst.Port()) && (p.Dst.Addr().IsPrivate() || p.Dst.Addr().IsMulticast() || p.Dst.Addr().IsLinkLocalUnicast())
}

// strange says what is wrong with a packet on the uplink, or nothing.
func strange(p lab.Packet, port uint16) string {
	local := p.Dst
	if p.Outgoing {
		local = p.Src
	}
	switch {
	case p.Protocol != unix.IPPROTO_UDP:
		// What the host's own stack says: neighbour discovery, multicast groups, ICMP errors.
		if slices.Contains([]uint8{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, unix.IPPROTO_IGMP, unix.IPPROTO_HOPOPTS}, p.Protocol) {
			return ""
		}
		return "not UDP"
	case local.Port() != port && (demux.Classify(p.Payload) == demux.STUN || toRouter(p)):
		return ""
	case local.Port() != port:
		return fmt.Sprintf("another port than %d", port)
	}
	switch demux.Classify(p.Payload) {
	case demux.WireGuard, demux.STUN:
		return ""
	case demux.DHT:
		if !bytes.HasSuffix(p.Payload, []byte("e")) {
			return "not a bencoded dictionary"
		}
		return ""
	case demux.CredAnt:
		// Checks that find out what the path carries are as long as a packet may be.
		if size := len(p.Payload); size != 1150 && size != 128 && size < 1232 {
			return fmt.Sprintf("a sealed datagram of %d bytes", size)
		}
		if distinct(p.Payload[2:]) < len(p.Payload)/4 && distinct(p.Payload[2:]) < 200 {
			return "a datagram that does not look sealed"
		}
		return ""
	}
	return "an unknown datagram"
}

// distinct counts the byte values that occur: sealed bytes look random.
func distinct(b []byte) int {
	var seen [256]bool
	n := 0
	for _, v := range b {
		if !seen[v] {
			seen[v] = true
			n++
		}
	}
	return n
}
