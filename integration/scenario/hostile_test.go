package scenario

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// 60,000 hostile datagrams change nothing: the node is alive, has grown by at most 5 MB, counts what it dropped, and
// its peer still answers.
func TestHostileDatagrams(t *testing.T) {
	w := newWorld(t, "embedded")
	a, b := w.join(w.Host("alice")), w.join(w.Host("bob"))
	attacker := w.Host("mallory")
	attacker.Addresses = 8
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	capture, err := a.Host.Capture("eth0")
	w.must(err)
	port := a.up().Port
	b.up()
	b.reach(a, 10*time.Second)
	a.reach(b, time.Second)
	// What has crossed the wire so far is what an eavesdropper can replay and mutilate.
	var overheard [][]byte
	for _, p := range capture.Stop() {
		if p.Protocol == unix.IPPROTO_UDP && !p.Outgoing {
			overheard = append(overheard, p.Payload)
		}
	}
	before, drops := residentKB(t, a), total(a.status().Drops)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	target := netip.AddrPortFrom(a.Host.IPv4()[0], port)
	const count = 60_000
	sent := 0
	for i, from := range attacker.IPv4() {
		conn, err := attacker.ListenUDP(netip.AddrPortFrom(from, uint16(20000+i)))
		w.must(err)
		defer conn.Close()
		for range count / len(attacker.IPv4()) {
			if _, err := conn.WriteToUDPAddrPort(hostile(random, overheard), target); err != nil {
				t.Fatal(err)
			}
			// Paced just under what a socket buffer holds, so that they are judged and not lost.
			if sent++; sent%64 == 0 {
				time.Sleep(4 * time.Millisecond)
			}
		}
	}
	if a.reach(b, 3*time.Second); a.Daemon().Output() == "" {
		t.Error("the daemon said nothing at all")
	}
	b.reach(a, 3*time.Second)
	status := a.status()
	grown := residentKB(t, a) - before
	t.Logf("grown by %d kB; drops %v", grown, status.Drops)
	// What it took for a moment is given back within minutes; what it keeps is not.
	w.eventually(3*time.Minute, "it has grown by no more than 5 MB", func() bool { return residentKB(t, a)-before <= 5<<10 })
	if counted := total(status.Drops) - drops; counted < count/4 {
		t.Errorf("%d of %d hostile datagrams are accounted for", counted, count)
	}
	if len(status.Drops) < 4 {
		t.Errorf("few reasons: %v", status.Drops)
	}
	if len(status.Peers) != 1 {
		t.Errorf("peers: %v", status.Peers)
	}
}

// hostile makes one datagram: noise, what was overheard, or a mutilation of it.
func hostile(random *rand.Rand, overheard [][]byte) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	old := append([]byte(nil), overheard[random.IntN(len(overheard))]...)

	switch random.IntN(10) {
	case 0:
		return noise(random.IntN(1473))
	case 1: // sealed, as far as the first bytes go
		sizes := []int{128, 1150, 0, 1, 25, 26, 1472}
		b := append([]byte{0xa0 | byte(random.IntN(16)), byte(random.IntN(6))}, noise(sizes[random.IntN(len(sizes))])...)
		return b[:max(1, len(b)-2)]
	case 2: // of WireGuard's kinds
		return append([]byte{byte(1 + random.IntN(4)), 0, 0, 0}, noise(random.IntN(200))...)
	case 3: // STUN
		return append([]byte{byte(random.IntN(2)), 1, 0, byte(random.IntN(64)), 0x21, 0x12, 0xa4, 0x42}, noise(12+random.IntN(64))...)
	case 4: // DHT queries with new names, or without what they need
		name := fmt.Sprintf("%x", noise(8))
		return fmt.Appendf(nil, "d1:ad2:id20:%se1:q%d:%s1:t2:aa1:y1:qe", noise(20), len(name), name)
	case 5:
		return []byte("d1:q13:announce_peer1:t1:a1:y1:qe")
	case 6:
		return []byte(strings.Repeat("d1:a", 1+random.IntN(300)))
	case 7: // replayed
		return old
	case 8: // cut
		return old[:random.IntN(len(old)+1)]
	default: // one byte changed
		if len(old) > 0 {
			old[random.IntN(len(old))] ^= 1 << random.IntN(8)
		}
		return old
	}
}

func total(drops map[string]uint64) (n uint64) {
	for _, d := range drops {
		n += d
	}
	return n
}

// residentKB is the resident memory of the member's daemon.
func residentKB(t *testing.T, n *node) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Daemon().PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
