package forward

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// trainOf is n data messages of a size in one piece, numbered from first.
func trainOf(first, n, size int) (b []byte) {
	for i := range n {
		b = append(b, data(first+i, size)...)
	}
	return b
}

// A train leaves as one, and what arrives merged with others' is told apart.
func TestTrain(t *testing.T) {
	for name, bob := range map[string]netip.Addr{"IPv4": bob4, "to IPv6": bob6} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			f := start(t, Config{})
			must(t, f.Open(port))
			a, b := listenAt(t, alice4), listenAt(t, bob)
			join(t, f, port, a.addr, b.addr)
			setGRO(t, b)
			train := append(trainOf(0, 31, 1424), data(31, 96)...)
			a.sendTrain(own(alice4, port), train, 1424)
			got, segment := receiveTrain(t, b)
			if segment != 1424 || !bytes.Equal(got, train) {
				t.Errorf("%d bytes came in segments of %d, want %d of 1424", len(got), segment, len(train))
			}
		})
	}
}

// Single datagrams that wait together leave as trains of equal ones, in order,
// whatever flows are between them.
func TestMerge(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Workers: 1})
	must(t, f.Open(port))
	at := own(alice4, port)
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	c, d := listenAt(t, alice4), listenAt(t, bob6)
	join(t, f, port, a.addr, b.addr)
	join(t, f, port, c.addr, d.addr)
	setGRO(t, b)
	release := hold(f.workers[0])
	sizes := []int{1424, 1424, 1424, 96, 1424, 1424, 2000, 96, 96, 96, 96, 1424}
	for i, size := range sizes {
		a.send(at, data(i, size))
		c.send(at, data(i, 64))
	}
	release()
	var trains []int
	for want := 0; want < len(sizes); {
		b, segment := receiveTrain(t, b)
		if segment == 0 {
			segment = len(b)
		}
		trains = append(trains, len(b))
		for len(b) > 0 {
			n := min(segment, len(b))
			if numberOf(b) != want || !bytes.Equal(b[:n], data(want, sizes[want])) {
				t.Fatalf("datagram %d of %d bytes came in place of %d", numberOf(b), n, want)
			}
			b = b[n:]
			want++
		}
	}
	want := []int{3*1424 + 96, 2 * 1424, 2000 + 96, 3 * 96, 1424}
	if !slices.Equal(trains, want) {
		t.Errorf("trains of %v bytes, want %v", trains, want)
	}
	for i := range sizes {
		if got, _ := d.receive(); numberOf(got) != i {
			t.Fatalf("datagram %d came in place of %d", numberOf(got), i)
		}
	}
}

// What must not pass is taken out of a train; the rest passes in order.
func TestMixedTrain(t *testing.T) {
	inNamespace(t)
	frames := make(chan byte, 10)
	f := start(t, Config{Handle: func(_, _ netip.AddrPort, b []byte) { frames <- b[2] }})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	join(t, f, port, a.addr, b.addr)
	bad := make([]byte, 160)
	var train []byte
	for _, segment := range [][]byte{
		bad, data(0, 160), data(1, 160), relayFrame(7, 160), data(2, 160), bad, bad, data(3, 160), relayFrame(8, 50),
	} {
		train = append(train, segment...)
	}
	a.sendTrain(own(alice4, port), train, 160)
	for i := range 4 {
		if got, _ := b.receive(); !bytes.Equal(got, data(i, 160)) {
			t.Fatalf("datagram %d of %d bytes came in place of %d", numberOf(got), len(got), i)
		}
	}
	if first, second := <-frames, <-frames; first != 7 || second != 8 {
		t.Errorf("frames %d and %d were handled", first, second)
	}
	waitFor(t, "three that are not forwardable", func() bool { return f.Drops()["not-forwardable"] == 3 })
}

// More parts than one batch has room for.
func TestTrainsOfAlternatingParts(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Workers: 1})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	join(t, f, port, a.addr, b.addr)
	release := hold(f.workers[0])
	sent := 0
	for range 20 {
		var train []byte
		for i := range 60 {
			if i%2 == 0 {
				train = append(train, data(sent, 32)...)
				sent++
			} else {
				train = append(train, make([]byte, 32)...)
			}
		}
		a.sendTrain(own(alice4, port), train, 32)
	}
	release()
	for i := range sent {
		if got, _ := b.receive(); numberOf(got) != i {
			t.Fatalf("datagram %d came in place of %d", numberOf(got), i)
		}
	}
}

// Where the next link is too narrow for a train's datagrams they leave one by one,
// as fragments, and later trains are not tried.
func TestTrainTooWide(t *testing.T) {
	inNamespace(t)
	far := netip.MustParseAddr("10.1.0.2")
	b := farSocket(t, netip.MustParseAddr("10.1.0.1"), far, 1000)
	f := start(t, Config{Workers: 1})
	must(t, f.Open(port))
	a := listenAt(t, alice4)
	join(t, f, port, a.addr, b.addr)
	const n = 40
	for round := range 2 {
		a.sendTrain(own(alice4, port), trainOf(round*n, n, 1424), 1424)
		for i := range n {
			if got, _ := b.receive(); !bytes.Equal(got, data(round*n+i, 1424)) {
				t.Fatalf("datagram %d of %d bytes came in place of %d", numberOf(got), len(got), round*n+i)
			}
		}
	}
	for _, flow := range f.flows.all() {
		if tried := flow.target.Load().noTrains.Load() == 0; flow.key.Source == a.addr && tried {
			t.Error("trains to that destination are still tried")
		}
	}
	waitFor(t, "all packets counted", func() bool { packets, _ := f.Totals(); return packets == 2*n })
}

// farSocket listens in another namespace, at the end of a veth of an MTU.
func farSocket(t *testing.T, near, far netip.Addr, mtu int) *socket {
	t.Helper()
	here, err := netlink.NewHandle()
	must(t, err)
	defer here.Close()
	var s *socket
	done, made := make(chan bool), make(chan int)
	go func() {
		runtime.LockOSThread()
		defer close(done)
		must(t, unix.Unshare(unix.CLONE_NEWNET))
		made <- unix.Gettid()
		<-made
		there, err := netlink.NewHandle()
		must(t, err)
		defer there.Close()
		setUpLink(t, there, "far", far, mtu)
		s = listenAt(t, far)
	}()
	thread := <-made
	must(t, here.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far", PeerNamespace: netlink.NsPid(thread),
	}))
	setUpLink(t, here, "near", near, mtu)
	made <- 0
	<-done
	return s
}

func setUpLink(t *testing.T, h *netlink.Handle, name string, addr netip.Addr, mtu int) {
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.LinkSetMTU(link, mtu))
	must(t, h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
	must(t, h.LinkSetUp(link))
}

func setGRO(t *testing.T, s *socket) {
	t.Helper()
	raw, err := s.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1))
	}))
}

// receiveTrain returns what one read gives, and the size of its segments, 0 when
// it is not a train.
func receiveTrain(t *testing.T, s *socket) ([]byte, int) {
	t.Helper()
	must(t, s.SetReadDeadline(time.Now().Add(patience)))
	b, control := make([]byte, 1<<16), make([]byte, 64)
	n, c, _, _, err := s.ReadMsgUDPAddrPort(b, control)
	must(t, err)
	if c == 0 {
		return b[:n], 0
	}
	return b[:n], int(binary.NativeEndian.Uint32(control[unix.SizeofCmsghdr:]))
}
