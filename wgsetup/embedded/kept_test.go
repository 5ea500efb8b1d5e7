package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// keptLab is a Bind and plain sockets of another host, two addresses of each
// family.
type keptLab struct {
	t       *testing.T
	a, b    *nstest.NS
	bind    *Bind
	port    uint16
	at      chan received
	remotes map[netip.AddrPort]*net.UDPConn
}

func newKeptLab(t *testing.T) *keptLab {
	t.Helper()
	l := &keptLab{t: t, remotes: map[netip.AddrPort]*net.UDPConn{}}
	l.a, l.b = hosts(t)
	l.bind, l.port, l.at = openBind(t, l.a)
	return l
}

func (l *keptLab) remote(addr string) netip.AddrPort {
	l.t.Helper()
	a := netip.MustParseAddrPort(addr)
	l.b.Do(func() {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		nstest.Must(l.t, err)
		l.remotes[a] = c
		l.t.Cleanup(func() { c.Close() })
	})
	return a
}

func (l *keptLab) keep(all map[netip.AddrPort]uint16) {
	l.t.Helper()
	l.a.Do(func() { nstest.Must(l.t, l.bind.SetKept(all)) })
}

// expect sends WireGuard's and the side port's there and back.
func (l *keptLab) expect(remote netip.AddrPort, port uint16) {
	l.t.Helper()
	c := l.remotes[remote]
	nstest.Must(l.t, c.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 65535)
	for i := range byte(3) { // a train
		nstest.Must(l.t, l.bind.Send([][]byte{numbered(i, 1300), numbered(i, 1300), numbered(i, 200)}, newEndpoint(remote)))
		for range 3 {
			_, from, err := c.ReadFromUDPAddrPort(b)
			nstest.Must(l.t, err)
			if from.Port() != port || b[4] != i {
				l.t.Errorf("%s heard number %d from port %d, not %d from %d", remote, b[4], from.Port(), i, port)
			}
			_, err = c.WriteToUDPAddrPort(numbered(i, 100), from)
			nstest.Must(l.t, err)
			if got := nextOf(l.t, l.at); got.from != remote || got.data[4] != i {
				l.t.Errorf("number %d from %s, not %d from %s", got.data[4], got.from, i, remote)
			}
		}
	}
	_, err := l.bind.side.WriteToUDPAddrPort([]byte("d1:y1:qe"), remote)
	nstest.Must(l.t, err)
	_, from, err := c.ReadFromUDPAddrPort(b)
	nstest.Must(l.t, err)
	_, err = c.WriteToUDPAddrPort([]byte("d1:y1:re"), from)
	nstest.Must(l.t, err)
	nstest.Must(l.t, l.bind.side.SetReadDeadline(time.Now().Add(patience)))
	_, back, err := l.bind.side.ReadFromUDPAddrPort(b)
	nstest.Must(l.t, err)
	if from.Port() != port || back != remote {
		l.t.Errorf("the side port left from %d, not %d, and heard %s, not %s", from.Port(), port, back, remote)
	}
}

// Towards one remote both halves leave from the kept port, and hear it there;
// others keep WireGuard's.
func TestKept(t *testing.T) {
	l := newKeptLab(t)
	l.a.Run("ping", "-c", "1", "-w", "10", "192.0.2.2")
	l.a.Run("ping", "-c", "1", "-w", "10", "2001:db8::2")
	v4, v6 := l.remote("192.0.2.2:4000"), l.remote("[2001:db8::2]:4000")
	other4, other6 := l.remote("192.0.2.2:4001"), l.remote("[2001:db8::2]:4001")
	all := func(want4, want6 uint16) {
		t.Helper()
		for range 2 {
			l.expect(v4, want4)
			l.expect(other6, l.port)
			l.expect(v6, want6)
			l.expect(other4, l.port)
		}
	}
	all(l.port, l.port)
	l.keep(map[netip.AddrPort]uint16{v4: 20001})
	all(20001, l.port)
	l.keep(map[netip.AddrPort]uint16{v4: 20001, v6: 20001})
	all(20001, 20001)
	l.keep(map[netip.AddrPort]uint16{v4: 20002, v6: 20001})
	all(20002, 20001)

	// Nobody else is heard there.
	from := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 20002)
	for _, first := range []byte{4, 0xa1} {
		d := numbered(0, 100)
		d[0] = first
		_, err := l.remotes[other4].WriteToUDPAddrPort(d, from)
		nstest.Must(t, err)
	}
	nstest.Must(t, l.bind.side.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if n, from, err := l.bind.side.ReadFromUDPAddrPort(make([]byte, 99)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes from %s", n, from)
	}
	all(20002, 20001) // which would find the other one

	// The ports are held, and given back.
	take := func(port uint16) (err error) {
		l.a.Do(func() {
			var c *net.UDPConn
			if c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)}); err == nil {
				c.Close()
			}
		})
		return err
	}
	if take(20002) == nil || take(20001) != nil {
		t.Error("ports:", take(20002), take(20001))
	}
	l.keep(nil)
	all(l.port, l.port)
	if err := take(20002); err != nil {
		t.Error(err)
	}
	for range 50 {
		l.keep(map[netip.AddrPort]uint16{v4: 20001})
		l.expect(v4, 20001)
		l.keep(nil)
		l.expect(v4, l.port)
	}
}

// A port that somebody has fails alone, and what is kept survives that
// WireGuard moves to another port.
func TestKeptOverReopening(t *testing.T) {
	l := newKeptLab(t)
	v4, other := l.remote("192.0.2.2:4000"), l.remote("192.0.2.2:4001")
	l.a.Do(func() {
		taken, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 20002})
		nstest.Must(t, err)
		defer taken.Close()
		if err := l.bind.SetKept(map[netip.AddrPort]uint16{v4: 20001, other: 20002}); err == nil {
			t.Error("two programs have one port")
		}
	})
	l.expect(v4, 20001)
	l.expect(other, l.port)
	nstest.Must(t, l.bind.Close())
	var fns []conn.ReceiveFunc
	l.a.Do(func() {
		var err error
		fns, l.port, err = l.bind.Open(0)
		nstest.Must(t, err)
	})
	ended := make(chan error)
	for _, fn := range fns {
		go func() {
			bufs, sizes, eps := batch()
			for {
				n, err := fn(bufs, sizes, eps)
				if err != nil {
					ended <- err
					return
				}
				for i := range n {
					r := received{from: eps[i].(*endpoint).dst, size: sizes[i]}
					copy(r.data[:], bufs[i][:sizes[i]])
					l.at <- r
				}
			}
		}()
	}
	l.expect(v4, 20001)
	l.expect(other, 20002)
	nstest.Must(t, l.bind.Close())
	for range fns {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive: %v", err)
		}
	}
}

// BenchmarkKept is what waiting for several sockets costs those of WireGuard's
// own port.
func BenchmarkKept(b *testing.B) {
	for _, kept := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("kept=%d", kept), func(b *testing.B) {
			all := map[netip.AddrPort]uint16{}
			for i := range uint16(kept) {
				all[netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), 4000+i)] = 20000 + i
			}
			benchmarkBind(b, 1452, func() conn.Bind {
				bind := NewBind(newSide(b))
				nstest.Must(b, bind.SetKept(all))
				return bind
			})
		})
	}
}
