package relayd

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/client"
	"github.com/credant/credant/relay/wire"
)

// childAddress in the environment makes this test binary a relay at that
// address, so that its memory is a relay's alone.
const childAddress = "CREDANT_TEST_RELAY_ADDRESS"

// child is that relay. It prints its key, and serves until SIGTERM.
func child(address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "credant-relay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := Config{
		StateDir: dir, Listen: []netip.Addr{netip.MustParseAddr(address)}, STUNPort: DefaultSTUNPort,
		NoDHT: true, Metrics: address + ":9478", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		// What the quotas refuse is not what is measured.
		Stranger: DefaultMember,
	}
	return Run(ctx, c, func(i Info) { fmt.Println(i.Key) })
}

// startChild starts a relay as a process of its own and returns it as one that
// runs here, and how many bytes of memory it has.
func startChild(t *testing.T) (r *running, at netip.AddrPort, resident func() uint64) {
	t.Helper()
	address := loopback()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddress+"="+address.String())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	key, err := wire.ParseServerPublic(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	r = &running{t: t, Info: Info{Key: key, Metrics: address.String() + ":9478", Port: DefaultPort}}
	return r, netip.AddrPortFrom(address, DefaultPort), func() uint64 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "VmRSS:")
		var kib uint64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
}

// Ten thousand pairs that are bound on both sides fit in 100 MB.
func TestTenThousandAllocations(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("measures memory")
	}
	const networks, members, most = 5, 64, 100 << 20
	r, at, resident := startChild(t)
	before := resident()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range networks {
		network := newNetwork(t)
		var nodes []*node
		var public []keys.NodePublic
		for j := range members {
			// A prefix each, as nodes at home have.
			n := startNode(t, network, fmt.Sprintf("127.%d.%d.1", 1+i, j), client.Server{Key: r.Key, Addrs: []netip.AddrPort{at}})
			nodes, public = append(nodes, n), append(public, n.key.Public())
		}
		for j, n := range nodes {
			peers := append(append([]keys.NodePublic(nil), public[:j]...), public[j+1:]...)
			all.Go(func() {
				n.do(func(c *client.Client) {
					c.SetBlob(time.Now(), make([]byte, wire.MaxBlob))
					c.SetPeers(time.Now(), peers)
				})
				for ready := 0; ready < len(peers); {
					select {
					case o := <-n.outputs:
						if b, ok := o.(client.Bound); ok && b.Ready {
							ready++
						}
					case <-ctx.Done():
						t.Errorf("%d of %d allocations after %v", ready, len(peers), time.Since(began))
						return
					}
				}
			})
		}
	}
	all.Wait()
	after, bound := resident(), r.metric("allocations_bound")
	t.Logf("%v allocations in %v: %d MB, %d MB before", bound, time.Since(began).Round(time.Second), after>>20, before>>20)
	if want := networks * members * (members - 1) / 2; bound < float64(want) || after > most {
		t.Errorf("%v allocations in %d bytes, want %d in %d", bound, after, want, most)
	}
}
