package sticky

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// sourceAt makes what the kernel says of a datagram that arrived at addr.
func sourceAt(addr string, link uint32) Source {
	a := netip.MustParseAddr(addr)
	var info []byte
	if a.Is4() {
		info = binary.NativeEndian.AppendUint32(nil, link)
		info = append(append(info, a.AsSlice()...), a.AsSlice()...)
	} else {
		info = binary.NativeEndian.AppendUint32(a.AsSlice(), link)
	}
	return New(append(make([]byte, unix.CmsgLen(0)), append(info, make([]byte, unix.CmsgSpace(len(info))-unix.CmsgLen(len(info)))...)...))
}

func remote(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 4000)
}

func TestSourceReadsBack(t *testing.T) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		s := sourceAt(addr, 7)
		if s.IsZero() || s.Addr().String() != addr || s.link() != 7 {
			t.Errorf("%s link 7 became %s link %d", addr, s.Addr(), s.link())
		}
	}
	// A socket for both families has IPv4 in IPv6's clothes.
	if s := sourceAt("::ffff:192.0.2.1", 7); s.Addr() != netip.MustParseAddr("192.0.2.1") || s.link() != 7 {
		t.Errorf("mapped address became %s", s.Addr())
	}
	if s := New(make([]byte, 3)); !s.IsZero() || s.Addr().IsValid() || len(s.Message()) != 0 {
		t.Errorf("not a packet information, and still %+v", s)
	}
}

func TestFind(t *testing.T) {
	other := make([]byte, unix.CmsgSpace(4))
	binary.NativeEndian.PutUint64(other, uint64(unix.CmsgLen(4)))
	info := make([]byte, space4)
	binary.NativeEndian.PutUint64(info, uint64(unix.CmsgLen(unix.SizeofInet4Pktinfo)))
	binary.NativeEndian.PutUint32(info[8:], unix.IPPROTO_IP)
	binary.NativeEndian.PutUint32(info[12:], unix.IP_PKTINFO)
	both := append(append([]byte{}, other...), info...)
	if got := Find(both); len(got) != space4 || &got[0] != &both[len(other)] {
		t.Errorf("found %x", got)
	}
	for _, control := range [][]byte{nil, other, both[:len(both)-1], make([]byte, 100)} {
		if got := Find(control); got != nil {
			t.Errorf("found %x in %x", got, control)
		}
	}
}

func TestSourcesAreBounded(t *testing.T) {
	s, now := newSources(), time.Now()
	at := sourceAt("192.0.2.1", 7)
	for n := range 10 * limit {
		s.Heard(now, remote(n), at)
		if got := s.For(now, remote(n)); got.Addr() != at.Addr() {
			t.Fatalf("remote %d: %s", n, got.Addr())
		}
	}
	if n := len(s.young) + len(s.old); n > limit {
		t.Errorf("%d remotes remembered", n)
	}
	// The newest half is always there, the rest goes oldest first.
	for n := 10*limit - limit/2; n < 10*limit; n++ {
		if got := s.For(now, remote(n)); got.IsZero() {
			t.Fatalf("remote %d of %d is forgotten", n, 10*limit)
		}
	}
	if got := s.For(now, remote(0)); !got.IsZero() {
		t.Error("the oldest remote is remembered")
	}
	n := 0
	if allocs := testing.AllocsPerRun(10*limit, func() {
		s.Heard(now, remote(n), at)
		n++
	}); allocs != 0 {
		t.Errorf("%v allocations a datagram", allocs)
	}
}

func TestSourcesForget(t *testing.T) {
	s, now := newSources(), time.Now()
	first, second := sourceAt("2001:db8::1", 7), sourceAt("2001:db8::2", 7)
	expect := func(want Source) {
		t.Helper()
		if got := s.For(now, remote(1)); got.Addr() != want.Addr() {
			t.Errorf("%s, not %s", got.Addr(), want.Addr())
		}
	}
	expect(Source{})
	s.Heard(now, remote(1), first)
	s.Heard(now, remote(2), first)
	expect(first)
	s.Heard(now, remote(1), second)
	expect(second)
	s.Heard(now, remote(1), Source{})
	expect(second)
	s.Forget(remote(1))
	expect(Source{})
	s.Heard(now, remote(1), first)
	now = now.Add(lifetime)
	expect(first)
	now = now.Add(1)
	expect(Source{})
}

// A source over IPv4 is right only as long as the way to the remote leaves by
// its link.
func TestSourcesFollowRoutes(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	nstest.Connect(t, ns, "eth0", []string{"192.0.2.1/24"}, other, "eth0", []string{"192.0.2.2/24"})
	nstest.Connect(t, ns, "eth1", []string{"198.51.100.1/24"}, other, "eth1", []string{"198.51.100.2/24"})
	ns.Run("ip", "route", "add", "default", "via", "198.51.100.2")
	var s *Sources
	var link uint32
	ns.Do(func() {
		var err error
		s, err = Open()
		nstest.Must(t, err)
		link = uint32(nstest.Link(t, "eth1").Attrs().Index)
	})
	far, now := netip.MustParseAddrPort("203.0.113.1:4000"), time.Now()
	at := sourceAt("198.51.100.1", link)
	expect := func(s Source, pinned bool) {
		t.Helper()
		if s.IsZero() == pinned {
			t.Errorf("source %s, wanted: %t", s.Addr(), pinned)
		}
	}
	s.Heard(now, far, at)
	expect(s.For(now, far), true)
	trusted := s.Trust(at)

	ns.Run("ip", "route", "replace", "default", "via", "192.0.2.2")
	expect(s.For(now, far), true) // the kernel is not asked each time
	expect(s.Confirm(trusted, far.Addr()), true)
	s.HostChanged()
	expect(s.For(now, far), false)
	expect(s.Confirm(trusted, far.Addr()), false)

	// Rules for an address or a mark are routes, too.
	ns.Run("ip", "route", "add", "default", "via", "198.51.100.2", "table", "7")
	ns.Run("ip", "rule", "add", "fwmark", "5", "table", "7")
	s.Heard(now, far, at)
	expect(s.For(now, far), false)
	s.SetMark(5)
	s.Heard(now, far, at)
	expect(s.For(now, far), true)
	s.SetMark(0)
	ns.Run("ip", "rule", "add", "ipproto", "udp", "sport", "4000", "table", "7")
	s.Heard(now, far, at)
	expect(s.For(now, far), false)
	s.SetPort(4000)
	s.Heard(now, far, at)
	expect(s.For(now, far), true)
	s.SetPort(4001)
	s.Heard(now, far, at)
	expect(s.For(now, far), false)
	s.Heard(now, far, at)
	ns.Run("ip", "rule", "add", "from", "198.51.100.1", "table", "7")
	expect(s.For(now, far), true)

	ns.Run("ip", "address", "del", "198.51.100.1/24", "dev", "eth1")
	s.HostChanged()
	expect(s.For(now, far), false)
	nstest.Must(t, s.Close())
}
