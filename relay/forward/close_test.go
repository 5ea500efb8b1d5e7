package forward

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/relay"
)

// Ports close and open while datagrams arrive and leave there, and nothing goes
// where it does not belong.
func TestCloseUnderTraffic(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Handle: func(_, _ netip.AddrPort, _ []byte) {}})
	const other = port + 1
	must(t, f.Open(other))
	a, b := listenAt(t, alice4), listenAt(t, bob6)
	c, d := listenAt(t, alice4), listenAt(t, bob4)
	join(t, f, other, c.addr, d.addr)

	var senders sync.WaitGroup
	done := make(chan struct{})
	for _, s := range []*socket{a, b} {
		senders.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					// While the port is closed an ICMP error comes back: that is as it should be.
					_, _ = s.WriteToUDPAddrPort(data(1, 1424), own(s.addr.Addr(), port))
					runtime.Gosched()
				}
			}
		})
	}
	for i := range 100 {
		must(t, f.Open(port))
		join(t, f, port, a.addr, b.addr)
		_ = f.Send(own(bob6, port), b.addr, data(2, 32))
		c.send(own(alice4, other), data(i, 32))
		if got, from := d.receive(); numberOf(got) != i || from != own(bob4, other) {
			t.Fatalf("datagram %d came from %v in place of %d", numberOf(got), from, i)
		}
		f.Close(port)
	}
	close(done)
	senders.Wait()
	if f.flows.count != 2 {
		t.Errorf("%d flows are left, want 2", f.flows.count)
	}
}

func TestDescriptors(t *testing.T) {
	inNamespace(t)
	before := descriptors(t)
	f := New(Config{Addrs: []netip.Addr{own4, own6}, Workers: 2})
	must(t, f.Open(port)) // before Run
	must(t, f.Open(port)) // twice
	if n := descriptors(t); n != before+4 {
		t.Errorf("%d descriptors for 2 addresses and 2 workers", n-before)
	}
	f.Close(port)
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors left open by Close before Run", n-before)
	}
	must(t, f.Open(port))
	stop := runs(t, f)
	must(t, f.Open(port+1))
	f.Close(port + 1)
	f.Close(port + 1)
	must(t, f.Open(port+2))
	stop()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors left open by Run", n-before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// A port that somebody has is refused, also where they would share it, and no
// address stays open.
func TestPortTaken(t *testing.T) {
	for name, shared := range map[string]int{"alone": 0, "shared": 1} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) {
					must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, shared))
				})
			}}
			taken, err := c.ListenPacket(context.Background(), "udp", own(own6, port).String())
			must(t, err)
			f := start(t, Config{})
			if err := f.Open(port); err == nil {
				t.Fatal("opened a port that is taken")
			}
			before := descriptors(t)
			must(t, taken.Close())
			must(t, f.Open(port))
			if n := descriptors(t); n != before-1+2*len(f.workers) {
				t.Errorf("%d descriptors", n-before)
			}
		})
	}
}

// Open ports cost descriptors, not buffers.
func TestManyPorts(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Workers: 1})
	must(t, f.Open(port))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const ports = 1024
	for p := port + 1; p < port+ports; p++ {
		if err := f.Open(uint16(p)); err != nil {
			t.Fatalf("%v (is the limit of open files high enough?)", err)
		}
	}
	if grown := heap() - before; grown > ports*2*512 {
		t.Errorf("%d ports on 2 addresses take %d bytes of memory", ports, grown)
	}
	a, b := listenAt(t, alice4), listenAt(t, bob6)
	for _, p := range []uint16{port, port + ports - 1} {
		join(t, f, p, a.addr, b.addr)
		a.send(own(alice4, p), data(int(p), 32))
		if got, from := b.receive(); numberOf(got) != int(p) || from.Port() != p {
			t.Errorf("datagram %d came from %v", numberOf(got), from)
		}
	}
}

// Forwarding makes no garbage.
func TestNoAllocations(t *testing.T) {
	inNamespace(t)
	f := New(Config{Addrs: []netip.Addr{own4, own6}, Workers: 1})
	must(t, f.Open(port))
	defer f.Close(port)
	w := f.workers[0] // whose loop the test takes the place of
	must(t, w.open())
	defer w.close()

	at := f.locals[own(own4, port)]
	var flows []*socket
	for _, bob := range []netip.Addr{bob4, bob6, bob6} {
		a, b := listenAt(t, alice4), listenAt(t, bob)
		join(t, f, port, a.addr, b.addr, relay.NewBucket(0), relay.NewBucket(1<<40), relay.NewBucket(1<<40))
		flows = append(flows, a)
	}
	stranger := listenAt(t, alice4)
	full, small, train := data(0, 1424), data(0, 96), trainOf(0, 20, 1424)
	round := func() {
		for range 4 {
			for _, a := range flows {
				a.send(at.addr, full)
				a.send(at.addr, small)
			}
		}
		stranger.send(at.addr, small)
		stranger.send(at.addr, nil)
		w.drain(at)
	}
	flows[0].sendTrain(at.addr, train, 1424)
	w.drain(at)
	// The senders' own allocations are counted without the forwarder's.
	w.flows, f.flows = newTable(), w.flows
	without := testing.AllocsPerRun(100, round)
	w.flows = f.flows
	before := w.counters.packets.Load()
	if with := testing.AllocsPerRun(100, round); with > without {
		t.Errorf("%v allocations a batch, %v when nothing is forwarded", with, without)
	}
	// A busy kernel may bring the last ones a moment later.
	waitFor(t, "all packets forwarded", func() bool {
		w.drain(at)
		return w.counters.packets.Load()-before == 101*24
	})
}
