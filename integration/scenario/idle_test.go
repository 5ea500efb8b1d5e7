package scenario

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/natpunch/demux"
)

// An idle, settled node with two peers exchanges at most 20 datagrams a minute with the internet, uses at most 0.1 % of
// a core, and 40 MB.
func TestIdleBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes six minutes")
	}
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted.HidePort())
	a := w.join(home.Host("alice"))
	b := w.join(w.NAT("office", lab.PortRestricted.HidePort()).Host("bob"))
	c := w.join(w.NAT("cafe", lab.PortRestricted.HidePort()).Host("carol"))
	dht, stunHost := w.addDHT(), w.Host("stun")
	stunHost.Addresses = 2
	w.build()
	w.startDHT(dht)
	w.startSTUN(stunHost)
	for _, n := range w.members {
		n.up()
	}
	a.reach(b, 10*time.Second)
	a.reach(c, 10*time.Second)
	b.reach(c, 10*time.Second)

	// Two minutes of fast search, then a doubling pause: settled after four at the latest.
	const settling, watched = 4 * time.Minute, 2 * time.Minute
	time.Sleep(settling)
	capture, err := home.Capture("wan")
	w.must(err)
	busy := cpuTime(t, a)
	time.Sleep(watched)
	busy = cpuTime(t, a) - busy
	packets := capture.Stop()

	// What foreign DHT nodes ask of a node that answers none is theirs: how much depends on how few they are.
	unasked := slices.DeleteFunc(slices.Clone(packets), func(p lab.Packet) bool { return !isQuery(p) })
	packets = slices.DeleteFunc(packets, isQuery)
	perMinute := float64(len(packets)) / watched.Minutes()
	share := busy.Seconds() / watched.Seconds()
	resident := residentKB(t, a)
	kinds := map[demux.Kind]int{}
	for _, p := range packets {
		kinds[demux.Classify(p.Payload)]++
	}
	t.Logf("%.1f packets a minute (%v) and %.1f queries of others, %.3f %% of a core, %d kB resident",
		perMinute, kinds, float64(len(unasked))/watched.Minutes(), 100*share, resident)
	if perMinute > 20 {
		t.Errorf("%.1f packets a minute:", perMinute)
		for _, p := range packets {
			t.Log(p)
		}
	}
	if share > 0.001 {
		t.Errorf("%.3f %% of a core", 100*share)
	}
	if resident > 40<<10 {
		t.Errorf("%d kB resident", resident)
	}
}

// isQuery tells a query that came in on the DHT (BEP 5: "y" is "q", and the last key).
func isQuery(p lab.Packet) bool {
	return !p.Outgoing && demux.Classify(p.Payload) == demux.DHT && bytes.HasSuffix(p.Payload, []byte("1:y1:qe"))
}

// cpuTime is what the threads of the member's daemon have used so far, to the nanosecond (clock ticks are as long as
// what is to be measured).
func cpuTime(t *testing.T, n *node) (used time.Duration) {
	t.Helper()
	found, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", n.Daemon().PID()))
	if err != nil || len(found) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, file := range found {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(stat), &ns); err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		used += time.Duration(ns)
	}
	return used
}
