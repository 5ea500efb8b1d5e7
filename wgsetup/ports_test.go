package wgsetup

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// ports opens extra ports in the node's namespace, which end with the test.
func (n *node) ports(t *testing.T, count int) *Ports {
	t.Helper()
	var p *Ports
	n.ns.Do(func() {
		var err error
		p, err = n.OpenPorts(count)
		nstest.Must(t, err)
	})
	t.Cleanup(func() { nstest.Must(t, p.Close()) })
	return p
}

type arrival struct {
	i    int
	from netip.AddrPort
	data string
}

// listen runs the ports until the test ends.
func (p *Ports) listen(t *testing.T) <-chan arrival {
	t.Helper()
	read := make(chan arrival, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, func(i int, from netip.AddrPort, b []byte) { read <- arrival{i, from, string(b)} })
	}()
	t.Cleanup(func() {
		cancel()
		nstest.Must(t, <-ended)
	})
	return read
}

func nextArrival(t *testing.T, read <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-read:
		return a
	case <-time.After(patience):
		t.Fatal("nothing arrived at the extra ports")
		return arrival{}
	}
}

// As many ports as a punch takes: each is a port of its own, of both families,
// and all of them cost little.
func TestPorts(t *testing.T) {
	nsA, nsB := onOneLink(t)
	a := openNode(t, nsA, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := a.ports(t, 256)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse); used > 1<<20 {
		t.Errorf("%d bytes", used)
	}
	at := p.listen(t)
	numbers := map[uint16]int{}
	for i := range p.Len() {
		numbers[p.Port(i)] = i
	}
	if len(numbers) != 256 {
		t.Fatalf("%d ports", len(numbers))
	}
	nsA.Run("ping", "-c", "1", "-w", "10", "192.0.2.2")
	nsA.Run("ping", "-c", "1", "-w", "10", "2001:db8::2")
	b := make([]byte, 99)
	for _, addr := range []string{"192.0.2.2:4000", "[2001:db8::2]:4000", "[::ffff:192.0.2.2]:4001"} {
		remote := netip.MustParseAddrPort(addr)
		c := listenDeep(t, nsB, netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()))
		defer c.Close()
		for i := range p.Len() {
			nstest.Must(t, p.Send(i, []byte{byte(i)}, remote))
			n, from, err := c.ReadFromUDPAddrPort(b)
			nstest.Must(t, err)
			if n != 1 || int(b[0]) != i || from.Port() != p.Port(i) {
				t.Fatalf("%v left from %d, not from %d", b[:n], from.Port(), p.Port(i))
			}
			_, err = c.WriteToUDPAddrPort([]byte("answer"), from)
			nstest.Must(t, err)
			if got := nextArrival(t, at); got.i != i || got.from.Port() != remote.Port() || got.from.Addr() != remote.Addr().Unmap() || got.data != "answer" {
				t.Fatalf("%+v instead of an answer to %d", got, i)
			}
		}
	}

	nstest.Must(t, p.Keep(7))
	if err := p.Keep(7); !errors.Is(err, net.ErrClosed) {
		t.Errorf("kept twice: %v", err)
	}
	if err := p.Send(7, nil, netip.MustParseAddrPort("192.0.2.2:4000")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("sent from a kept port: %v", err)
	}
	for range 2 {
		nstest.Must(t, p.Close())
	}
	taken := func(port uint16) (taken bool) {
		nsA.Do(func() { taken = !portFree(port) })
		return taken
	}
	if !taken(p.Port(7)) || taken(p.Port(8)) {
		t.Errorf("taken: kept port %t, another %t", taken(p.Port(7)), taken(p.Port(8)))
	}
	nstest.Must(t, a.Remove())
	if taken(p.Port(7)) {
		t.Error("the kept port outlived its device")
	}
	for _, n := range []int{0, -1, maxPorts + 1} {
		if _, err := a.OpenPorts(n); err == nil {
			t.Errorf("opened %d", n)
		}
	}
	if _, err := a.OpenPorts(1); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed device: %v", err)
	}
	if err := p.Keep(8); !errors.Is(err, net.ErrClosed) {
		t.Errorf("kept after Close: %v", err)
	}
}

// What Keep took and nobody asks for is bounded.
func TestPendingPorts(t *testing.T) {
	ns := nstest.New(t)
	a := openNode(t, ns, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	p := a.ports(t, maxPending+1)
	for i := range p.Len() {
		nstest.Must(t, p.Keep(i))
	}
	ns.Do(func() {
		if !portFree(p.Port(0)) || portFree(p.Port(1)) {
			t.Error("not the oldest one was given back")
		}
	})
}
