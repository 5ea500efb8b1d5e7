// Package nstest gives tests network namespaces of their own.
//
// A namespace has no name and goes with the test. What runs in Do, and the
// sockets opened there, belong to it; goroutines started there do not, so code
// under test opens its sockets before it starts goroutines.
package nstest

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Skip skips the test and names what is missing, or fails it where
// CREDANT_TEST_STRICT is set.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_STRICT") != "" {
		t.Fatal("a test that CREDANT_TEST_STRICT requires cannot run: " + missing)
	}
	t.Skip(missing)
}

// SkipKernel skips a test that needs a kernel with the WireGuard module. Only
// where CREDANT_TEST_KERNEL says that the kernel has it is that a failure under
// CREDANT_TEST_STRICT.
func SkipKernel(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_KERNEL") != "" {
		Skip(t, missing)
	}
	t.Skip(missing)
}

// NS is a network namespace.
type NS struct {
	t  testing.TB
	fd netns.NsHandle
}

// New makes a namespace with its loopback up.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "network namespaces need root")
	}
	ns := &NS{t: t}
	inOwnThread(t, func() {
		fd, err := netns.New()
		if err != nil {
			t.Errorf("make network namespace: %v", err)
			return
		}
		ns.fd = fd
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { ns.fd.Close() })
	ns.Do(func() {
		Must(t, netlink.LinkSetUp(Link(t, "lo")))
	})
	// No namespace of a test has two of one address, and looking for them
	// takes a second.
	ns.Set("net/ipv6/conf/all/accept_dad", "0")
	ns.Set("net/ipv6/conf/default/accept_dad", "0")
	return ns
}

// Do runs f in the namespace, in the test's goroutine.
func (ns *NS) Do(f func()) {
	ns.t.Helper()
	inOwnThread(ns.t, func() {
		if err := netns.Set(ns.fd); err != nil {
			ns.t.Errorf("enter network namespace: %v", err)
			return
		}
		f()
	})
}

// inOwnThread runs f in this goroutine and puts the thread's namespace back.
func inOwnThread(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatalf("get network namespace: %v", err)
	}
	defer func() {
		defer before.Close()
		if err := netns.Set(before); err != nil {
			t.Errorf("leave network namespace: %v", err)
			return // the thread ends with the goroutine
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// Run runs a command in the namespace and returns its output.
func (ns *NS) Run(args ...string) string {
	ns.t.Helper()
	out, err := ns.Try(args...)
	if err != nil {
		ns.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run for a command that may fail.
func (ns *NS) Try(args ...string) (out string, err error) {
	ns.t.Helper()
	ns.Do(func() {
		var b []byte
		b, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// Nft loads a ruleset in nft's own language.
func (ns *NS) Nft(ruleset string) {
	ns.t.Helper()
	ns.Do(func() {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(ruleset)
		if out, err := c.CombinedOutput(); err != nil {
			ns.t.Fatalf("nft: %v\n%s", err, out)
		}
	})
}

// Set writes a sysctl of the namespace, given by its path below /proc/sys.
func (ns *NS) Set(path, value string) {
	ns.t.Helper()
	ns.Do(func() { Must(ns.t, os.WriteFile("/proc/sys/"+path, []byte(value), 0o644)) })
}

// Connect joins two namespaces by a veth pair with the addresses, each given as
// ADDRESS/BITS. IPv6 addresses are usable at once.
func Connect(t testing.TB, a *NS, aName string, aAddrs []string, b *NS, bName string, bAddrs []string) {
	t.Helper()
	a.Do(func() {
		veth := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: aName, TxQLen: 1000},
			PeerName:      bName,
			PeerNamespace: netlink.NsFd(b.fd),
		}
		Must(t, netlink.LinkAdd(veth))
	})
	for _, end := range []struct {
		ns    *NS
		name  string
		addrs []string
	}{{a, aName, aAddrs}, {b, bName, bAddrs}} {
		end.ns.Do(func() {
			l := Link(t, end.name)
			for _, s := range end.addrs {
				addr, err := netlink.ParseAddr(s)
				Must(t, err)
				if addr.IP.To4() == nil {
					addr.Flags = unix.IFA_F_NODAD
				}
				Must(t, netlink.AddrAdd(l, addr))
			}
			Must(t, netlink.LinkSetUp(l))
		})
	}
}

// Link returns a link of the thread's namespace.
func Link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("get link %s: %v", name, err)
	}
	return l
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
