package wgsetup

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/sideport"
)

func TestNormalizeKept(t *testing.T) {
	a, b := addrPort4or6(t, "192.0.2.1:1"), addrPort4or6(t, "[2001:db8::1]:1")
	mapped := addrPort4or6(t, "[::ffff:192.0.2.1]:1")
	got, err := normalizeKept([]Kept{{b, 7}, {mapped, 8}, {a, 8}})
	nstest.Must(t, err)
	if !slices.Equal(got, []Kept{{a, 8}, {b, 7}}) {
		t.Errorf("%v", got)
	}
	for _, bad := range [][]Kept{
		{{a, 1}, {mapped, 2}},
		{{a, 0}},
		{{netip.AddrPort{}, 1}},
		{{addrPort4or6(t, "192.0.2.1:0"), 1}},
		{{addrPort4or6(t, "[fe80::1%eth0]:1"), 1}},
		{{addrPort4or6(t, "[ff02::1]:1"), 1}},
		{{addrPort4or6(t, "0.0.0.0:1"), 1}},
		make([]Kept, maxKept+1),
	} {
		if _, err := normalizeKept(bad); err == nil {
			t.Errorf("accepted %v", bad[0])
		}
	}
}

// keptLab is a socket in WireGuard's place with a side port beside it, on a host
// that lets only answers in and whose kept ports are a table; and another host.
type keptLab struct {
	t           *testing.T
	host, other *nstest.NS
	wireGuard   *net.UDPConn
	side        *sideport.Conn
	kept        *kernelKept
	held        heldPorts
}

const keptTable = "credant_test_wg0_kept"

func newKeptLab(t *testing.T, offload string) *keptLab {
	t.Helper()
	l := &keptLab{t: t, host: nstest.New(t), other: nstest.New(t)}
	nstest.Connect(t,
		l.host, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"},
		l.other, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	for _, ns := range []*nstest.NS{l.host, l.other} {
		ns.Run("ethtool", "-K", "eth0", "tx", offload)
	}
	l.host.Nft(`
		table inet firewall {
			chain in { type filter hook input priority 0; policy drop
				iifname "lo" accept
				ct state established,related accept
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
			}
		}
	`)
	l.host.Do(func() {
		var err error
		l.wireGuard, err = net.ListenUDP("udp", &net.UDPAddr{Port: wireGuardPort})
		nstest.Must(t, err)
		l.side, err = sideport.Open(sideport.Config{
			Table: "credant_test_wg0_sideport", Interface: "wg0", Port: wireGuardPort, Log: testLog(t),
		})
		nstest.Must(t, err)
	})
	l.open()
	// While the neighbour is looked for, which over IPv6 takes a second, the
	// kernel queues little.
	l.host.Run("ping", "-c", "1", "-w", "10", "192.0.2.2")
	l.host.Run("ping", "-c", "1", "-w", "10", "2001:db8::2")
	t.Cleanup(func() {
		l.wireGuard.Close()
		l.held.close()
		nstest.Must(t, l.kept.close())
		nstest.Must(t, l.side.Close())
	})
	return l
}

func (l *keptLab) open() {
	l.t.Helper()
	l.host.Do(func() {
		var err error
		l.kept, err = openKernelKept(keptTable, "wg0", wireGuardPort, testLog(l.t))
		nstest.Must(l.t, err)
	})
}

func (l *keptLab) keep(all ...Kept) {
	l.t.Helper()
	l.host.Do(func() {
		all, err := normalizeKept(all)
		nstest.Must(l.t, err)
		nstest.Must(l.t, l.kept.setAll(all, &l.held))
	})
}

// remote is a socket of the other host.
func (l *keptLab) remote(addr string) (*net.UDPConn, netip.AddrPort) {
	l.t.Helper()
	var c *net.UDPConn
	a := addrPort4or6(l.t, addr)
	l.other.Do(func() {
		var err error
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		nstest.Must(l.t, err)
	})
	l.t.Cleanup(func() { c.Close() })
	return c, a
}

type reader interface {
	SetReadDeadline(time.Time) error
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
}

// arrives reads one datagram and returns where it came from.
func (l *keptLab) arrives(at reader, want []byte) netip.AddrPort {
	l.t.Helper()
	nstest.Must(l.t, at.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 65535)
	n, from, err := at.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != string(want) {
		l.t.Errorf("%d bytes of type %#x from %s instead of %d of type %#x: %v", n, b[0], from, len(want), want[0], err)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// both sends WireGuard's and the side port's to the remote, which has to see
// them come from the port, and back.
func (l *keptLab) both(c *net.UDPConn, remote netip.AddrPort, port uint16) {
	l.t.Helper()
	for _, size := range []int{32, 148, 1421, 4000} {
		for _, first := range []byte{1, 4, 0xa1, 0} {
			data := wireGuardLike(first, size)
			var at reader = l.side
			var err error
			if first >= 1 && first <= 4 {
				at = l.wireGuard
				_, err = l.wireGuard.WriteToUDPAddrPort(data, remote)
			} else if size > 1500 {
				continue // never in fragments
			} else {
				_, err = l.side.WriteToUDPAddrPort(data, remote)
			}
			nstest.Must(l.t, err)
			from := l.arrives(c, data)
			if from.Port() != port {
				l.t.Errorf("%d bytes of type %#x left from port %d, not %d", size, first, from.Port(), port)
			}
			_, err = c.WriteToUDPAddrPort(data, from)
			nstest.Must(l.t, err)
			if back := l.arrives(at, data); back != remote {
				l.t.Errorf("%d bytes of type %#x came back from %s, not %s", size, first, back, remote)
			}
		}
	}
}

// WireGuard's port and the side port become the kept one towards one remote
// only, behind a firewall, and ICMP errors find their way.
func TestKeptPackets(t *testing.T) {
	for _, offload := range []string{"on", "off"} {
		t.Run("offload="+offload, func(t *testing.T) {
			l := newKeptLab(t, offload)
			const port = 20017
			for _, c := range []struct{ remote, neighbour string }{
				{"192.0.2.2:4000", "192.0.2.2:4001"},
				{"[2001:db8::2]:4000", "[2001:db8::2]:4001"},
			} {
				remote, addr := l.remote(c.remote)
				neighbour, other := l.remote(c.neighbour)
				l.both(remote, addr, wireGuardPort)
				l.host.Do(func() { // as an extra port does
					fd, ipv4, err := listenUDP(port)
					nstest.Must(t, err)
					defer unix.Close(fd)
					nstest.Must(t, unix.Sendto(fd, []byte("ping"), 0, sockaddr(addr, ipv4)))
				})
				from := l.arrives(remote, []byte("ping"))
				l.keep(Kept{addr, port})
				// Whoever begins.
				data := wireGuardLike(4, 148)
				_, err := remote.WriteToUDPAddrPort(data, from)
				nstest.Must(t, err)
				if back := l.arrives(l.wireGuard, data); back != addr {
					t.Errorf("from %s, not %s", back, addr)
				}
				l.both(remote, addr, port)
				l.both(neighbour, other, wireGuardPort)
				l.keep()
				l.both(remote, addr, wireGuardPort)
				l.keep(Kept{addr, port})
				remote.Close()
				l.icmp(addr)
				l.keep()
			}
			var errs string
			l.host.Do(func() {
				for _, file := range []string{"/proc/net/snmp", "/proc/net/snmp6"} {
					b, err := os.ReadFile(file)
					nstest.Must(t, err)
					errs += string(b)
				}
			})
			if !strings.Contains(errs, "Udp6InCsumErrors                \t0\n") || csumErrors(errs) != "0" ||
				!strings.Contains(errs, "Icmp6InCsumErrors               \t0\n") {
				t.Errorf("checksum errors:\n%s", errs)
			}
		})
	}
}

// icmp expects an error about a datagram to the remote, which has closed.
func (l *keptLab) icmp(remote netip.AddrPort) {
	l.t.Helper()
	ended := make(chan struct{})
	nstest.Must(l.t, l.side.SetReadDeadline(time.Now().Add(patience)))
	go func() {
		defer close(ended)
		for {
			if _, _, err := l.side.ReadFromUDPAddrPort(make([]byte, 99)); err != nil {
				return
			}
		}
	}()
	for name, write := range map[string]func([]byte, netip.AddrPort) (int, error){
		"WireGuard": l.wireGuard.WriteToUDPAddrPort, "side port": l.side.WriteToUDPAddrPort,
	} {
		_, err := write(wireGuardLike(4, 148), remote)
		nstest.Must(l.t, err)
		select {
		case e := <-l.side.Errors():
			if e.To != remote || e.Err != unix.ECONNREFUSED {
				l.t.Errorf("%s: %+v", name, e)
			}
		case <-time.After(patience):
			l.t.Errorf("%s: no ICMP error about %s", name, remote)
		}
	}
	nstest.Must(l.t, l.side.SetReadDeadline(time.Now()))
	<-ended
}

// What one process kept works on without it, is found by the next one, and is
// gone once that keeps nothing.
func TestKeptOutlivesTheProcess(t *testing.T) {
	l := newKeptLab(t, "on")
	var all []Kept
	for i := range 100 {
		all = append(all,
			Kept{addrPort4or6(t, fmt.Sprintf("192.0.2.2:%d", 4000+i)), uint16(20000 + i)},
			Kept{addrPort4or6(t, fmt.Sprintf("[2001:db8::2]:%d", 4000+i)), uint16(20000 + i)})
	}
	remote, addr := l.remote("192.0.2.2:4099")
	l.keep(all...)
	l.both(remote, addr, 20099)
	l.host.Do(func() {
		if fd, _, err := listenUDP(20099); err == nil {
			unix.Close(fd)
			t.Error("somebody else can have the port")
		}
	})
	nstest.Must(t, l.kept.close())
	l.held.close()
	l.both(remote, addr, 20099)
	l.held = heldPorts{}
	l.open()
	got := l.kept.all()
	want, err := normalizeKept(all)
	nstest.Must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("found %v", got)
	}
	l.keep(got...)
	l.both(remote, addr, 20099)
	nstest.Must(t, l.kept.setPort(wireGuardPort+1))
	l.both(remote, addr, wireGuardPort)
	nstest.Must(t, l.kept.setPort(wireGuardPort))
	l.both(remote, addr, 20099)
	l.keep()
	l.both(remote, addr, wireGuardPort)
	if got := l.host.Run("nft", "list", "tables"); strings.Contains(got, keptTable) {
		t.Errorf("left behind:\n%s", got)
	}
}
