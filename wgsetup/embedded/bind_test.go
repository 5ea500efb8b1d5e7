package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what comes soon, on a machine that has much else to do.
const patience = time.Minute

// newSide makes a side port of the thread's namespace.
func newSide(t testing.TB) *SidePort {
	t.Helper()
	s, err := NewSidePort()
	nstest.Must(t, err)
	t.Cleanup(func() { nstest.Must(t, s.Close()) })
	return s
}

// openBind opens a Bind in ns and passes what it receives to the channel.
func openBind(t testing.TB, ns *nstest.NS) (b *Bind, port uint16, wireguard chan received) {
	t.Helper()
	var fns []conn.ReceiveFunc
	ns.Do(func() {
		b = NewBind(newSide(t))
		var err error
		fns, port, err = b.Open(0)
		nstest.Must(t, err)
	})
	if len(fns) != 2 {
		t.Fatalf("%d families", len(fns))
	}
	wireguard = make(chan received, 4096)
	done := make(chan struct{}, len(fns))
	for _, fn := range fns {
		go func() {
			defer func() { done <- struct{}{} }()
			bufs, sizes, eps := batch()
			for {
				n, err := fn(bufs, sizes, eps)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("receive: %v", err)
					}
					return
				}
				for i := range n {
					r := received{from: eps[i].(*endpoint).dst, size: sizes[i]}
					copy(r.data[:], bufs[i][:sizes[i]])
					wireguard <- r
				}
			}
		}()
	}
	t.Cleanup(func() {
		nstest.Must(t, b.Close())
		nstest.Must(t, b.side.Close())
		for range fns {
			<-done
		}
	})
	return b, port, wireguard
}

func batch() (bufs [][]byte, sizes []int, eps []conn.Endpoint) {
	for range conn.IdealBatchSize {
		bufs = append(bufs, make([]byte, 65535))
	}
	return bufs, make([]int, conn.IdealBatchSize), make([]conn.Endpoint, conn.IdealBatchSize)
}

// numbered returns a datagram of WireGuard's shape, with room behind it.
func numbered(n byte, size int) []byte {
	b := make([]byte, size, 65535)
	b[0], b[4] = 4, n
	return b
}

func hosts(t testing.TB) (a, b *nstest.NS) {
	t.Helper()
	a, b = nstest.New(t), nstest.New(t)
	nstest.Connect(t,
		a, "eth0", []string{"192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "2001:db8:1::1/64"},
		b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64", "2001:db8:1::2/64"})
	return a, b
}

func nextOf(t testing.TB, c chan received) received {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(patience):
		t.Fatal("nothing arrived")
		return received{}
	}
}

// Trains of GSO with others' datagrams between WireGuard's: every datagram
// arrives once, in order and at the right place.
func TestTrains(t *testing.T) {
	for name, addr := range map[string]string{"IPv4": "192.0.2.2", "IPv6": "2001:db8::2"} {
		for _, gso := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/gso=%t", name, gso), func(t *testing.T) {
				nsA, nsB := hosts(t)
				a, portA, _ := openBind(t, nsA)
				b, portB, atB := openBind(t, nsB)
				to := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(addr), portB))
				if s := a.socketFor(to.dst); !gso {
					s.gso.Store(false)
				} else if !s.gso.Load() {
					t.Error("the kernel has no GSO")
				}
				// While the neighbour is looked for, the kernel queues little.
				nstest.Must(t, a.Send([][]byte{numbered(0, 32)}, to))
				nextOf(t, atB)
				var bufs [][]byte
				var sizes, sideSizes []int
				for i := range 120 {
					size := 1280
					if i%40 == 39 {
						size = 100 + i // ends a train
					}
					d := numbered(byte(i), size)
					if i%10 == 5 {
						d[0] = 0xa1
						sideSizes = append(sideSizes, size)
					} else {
						sizes = append(sizes, size)
					}
					bufs = append(bufs, d)
				}
				nstest.Must(t, a.Send(bufs, to))
				var got []int
				for i := range bufs {
					if i%10 == 5 {
						continue
					}
					r := nextOf(t, atB)
					got = append(got, r.size)
					if r.data[0] != 4 || r.data[4] != byte(i) || r.from.Port() != portA {
						t.Errorf("datagram %d: number %d, from %s", i, r.data[4], r.from)
					}
				}
				if !slices.Equal(got, sizes) {
					t.Errorf("sizes %v, not %v", got, sizes)
				}
				got = nil
				for range sideSizes {
					p := make([]byte, 65535)
					nstest.Must(t, b.side.SetReadDeadline(time.Now().Add(patience)))
					n, from, err := b.side.ReadFromUDPAddrPort(p)
					nstest.Must(t, err)
					got = append(got, n)
					if p[0] != 0xa1 || from.Port() != portA {
						t.Errorf("side port: type %x, from %s", p[0], from)
					}
				}
				if !slices.Equal(got, sideSizes) {
					t.Errorf("side port sizes %v, not %v", got, sideSizes)
				}
			})
		}
	}
}

// conn.StdNetBind sends a datagram over IPv6 that follows one over IPv4 to an
// address mixed from two: both take turns with one net.UDPAddr, whose length
// is IPv4's when IPv6's is copied in.
func TestFamiliesAlternate(t *testing.T) {
	nsA, nsB := hosts(t)
	a, _, _ := openBind(t, nsA)
	_, port, atB := openBind(t, nsB)
	for range 8 {
		for i, addr := range []string{"192.0.2.2", "2001:db8::2", "192.0.2.2", "2001:db8:1::2"} {
			to := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(addr), port))
			nstest.Must(t, a.Send([][]byte{numbered(byte(i), 32)}, to))
			if got := nextOf(t, atB); got.data[4] != byte(i) {
				t.Fatalf("datagram %d instead of %d", got.data[4], i)
			}
		}
	}
}

// A segment that is longer than the route's MTU leaves in fragments, not never.
func TestTrainBeyondTheMTU(t *testing.T) {
	nsA, nsB := hosts(t)
	nsA.Run("ip", "link", "set", "eth0", "mtu", "1400")
	a, _, _ := openBind(t, nsA)
	_, port, atB := openBind(t, nsB)
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		to := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		nstest.Must(t, a.Send([][]byte{numbered(0, 1452), numbered(1, 1452), numbered(2, 1452)}, to))
		for i := range 3 {
			if got := nextOf(t, atB); got.size != 1452 || got.data[4] != byte(i) {
				t.Errorf("datagram %d of %d bytes", got.data[4], got.size)
			}
		}
	}
}

func TestOpenTakesOnePortForBothFamilies(t *testing.T) {
	ns := nstest.New(t)
	_, port, _ := openBind(t, ns)
	ns.Do(func() {
		other := NewBind(newSide(t))
		if _, _, err := other.Open(port); err == nil {
			t.Error("the port was free in one family")
			nstest.Must(t, other.Close())
		}
		for _, network := range []string{"udp4", "udp6"} {
			if c, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)}); err == nil {
				t.Errorf("%s port %d was free", network, port)
				c.Close()
			}
		}
	})
}

func TestSidePortBounds(t *testing.T) {
	s := newSide(t)
	from := netip.MustParseAddrPort("192.0.2.1:1")
	s.deliver(make([]byte, maxDatagram+1), from, sticky.Source{})
	for range queueSize + 3 {
		s.deliver(make([]byte, 100), from, sticky.Source{})
	}
	if d := s.Drops(); d["side-port-oversized"] != 1 || d["side-port-overflow"] != 3 {
		t.Errorf("drops: %v", d)
	}
	for range queueSize {
		if n, _, err := s.ReadFromUDPAddrPort(make([]byte, 50)); n != 50 || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	}
	nstest.Must(t, s.Close())
}

func TestSidePortDeadlines(t *testing.T) {
	s := newSide(t)
	read := make(chan error, 1)
	start := func() {
		go func() {
			_, _, err := s.ReadFrom(make([]byte, 1))
			read <- err
		}()
	}
	nstest.Must(t, s.SetDeadline(time.Now().Add(-time.Second)))
	start()
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	nstest.Must(t, s.SetReadDeadline(time.Now().Add(time.Hour)))
	start()
	nstest.Must(t, s.SetReadDeadline(time.Now()))
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read when the deadline came near: %v", err)
	}
	nstest.Must(t, s.SetReadDeadline(time.Time{}))
	start()
	nstest.Must(t, s.Close())
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read when closed: %v", err)
	}
	if _, err := s.WriteTo(nil, &net.UDPAddr{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write when closed: %v", err)
	}
}

// BenchmarkBind measures datagrams through a Bind of ours against wireguard-go's
// own, over a veth pair.
func BenchmarkBind(b *testing.B) {
	for _, size := range []int{128, 1452} {
		for name, newBind := range map[string]func() conn.Bind{
			"ours":         func() conn.Bind { return NewBind(newSide(b)) },
			"wireguard-go": conn.NewDefaultBind,
		} {
			b.Run(fmt.Sprintf("size=%d/bind=%s", size, name), func(b *testing.B) { benchmarkBind(b, size, newBind) })
		}
	}
}

func benchmarkBind(b *testing.B, size int, newBind func() conn.Bind) {
	nsA, nsB := hosts(b)
	from, to := newBind(), newBind()
	var receive conn.ReceiveFunc
	var port uint16
	nsA.Do(func() {
		_, _, err := from.Open(0)
		nstest.Must(b, err)
	})
	nsB.Do(func() {
		fns, p, err := to.Open(0)
		nstest.Must(b, err)
		receive, port = fns[0], p
	})
	defer from.Close()
	defer to.Close()
	ep, err := from.ParseEndpoint(fmt.Sprintf("192.0.2.2:%d", port))
	nstest.Must(b, err)
	bufs, sizes, eps := batch()
	var out [][]byte
	for i := range conn.IdealBatchSize {
		out = append(out, numbered(byte(i), size))
	}
	b.SetBytes(int64(size * len(out)))
	for b.Loop() {
		nstest.Must(b, from.Send(out, ep))
		for got := 0; got < len(out); {
			n, err := receive(bufs, sizes, eps)
			nstest.Must(b, err)
			got += n
		}
	}
}
