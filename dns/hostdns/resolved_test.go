package hostdns

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

var resolvedPackages = []string{"systemd-resolved", "libsystemd-shared", "libnss-resolve"}

// useResolved makes the host one that asks systemd-resolved.
func useResolved(t *testing.T) {
	t.Helper()
	write(t, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nsystemd-resolve:x:997:997::/:/usr/sbin/nologin\n")
	write(t, "/etc/group", "root:x:0:\nsystemd-resolve:x:997:\n")
	write(t, "/etc/systemd/resolved.conf", "[Resolve]\nDNS=10.0.0.53\nDNSSEC=no\nLLMNR=yes\nMulticastDNS=yes\nDNSOverTLS=opportunistic\n")
	must(t, os.Remove("/etc/resolv.conf"))
	must(t, os.Symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf"))
}

func startResolved(t *testing.T) (stop func()) {
	t.Helper()
	stop = start(t, "/lib/systemd/systemd-resolved")
	eventually(t, "systemd-resolved answers", func() error {
		out, err := exec.Command("resolvectl", "status", "--no-pager").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return stop
}

// linkStatus is what systemd-resolved says of the network's interface.
func linkStatus() string {
	out, _ := exec.Command("resolvectl", "status", "--no-pager", "credant0").CombinedOutput()
	return string(out)
}

func hasServer(t *testing.T, server string) {
	t.Helper()
	eventually(t, "systemd-resolved asks "+server, func() error {
		if s := linkStatus(); !strings.Contains(s, server) || !strings.Contains(s, "home.internal") {
			return fmt.Errorf("%s", s)
		}
		return nil
	})
}

func hasNothing(t *testing.T) {
	t.Helper()
	if s := linkStatus(); strings.Contains(s, "10.20.0.1") || strings.Contains(s, "home.internal") {
		t.Errorf("still there: %s", s)
	}
}

func TestResolvedSplitsNames(t *testing.T) {
	if !inHost(t, resolvedPackages...) {
		return
	}
	useResolved(t)
	startBus(t)
	uplink, network := serve(t, false, "10.0.0.53:53"), serve(t, true, "10.20.0.1:53")
	startResolved(t)

	h, stop := startHost(t, ModeAuto, "10.20.0.1:53", "[fd00:1::1]:53")
	s := inMode(t, h, ModeResolved)
	if want := []string{"10.20.0.1:53", "[fd00:1::1]:53"}; strings.Join(s.Servers, " ") != strings.Join(want, " ") || s.Lacks != "" {
		t.Errorf("status %+v", s)
	}
	finds(t, "nas.home.internal", "10.20.0.7")
	finds(t, "nas", "10.20.0.7")
	finds(t, "www.example.org", "192.0.2.9")
	if out := run(t, "resolvectl", "query", "10.20.0.7"); !strings.Contains(out, "nas.home.internal") {
		t.Errorf("10.20.0.7 is %s", out)
	}
	uplink.neverAsked(t, "internal")
	uplink.neverAsked(t, "20.10.in-addr")
	network.neverAsked(t, "example")
	for _, want := range []string{"-LLMNR", "-mDNS", "-DNSOverTLS", "DNSSEC=no", "-DefaultRoute"} {
		if s := linkStatus(); !strings.Contains(s, want) {
			t.Errorf("%s is missing: %s", want, s)
		}
	}
	if hosts := read(t, "/etc/hosts"); strings.Contains(hosts, "credant") {
		t.Errorf("hosts: %s", hosts)
	}

	stop(nil)
	hasNothing(t)
	if _, err := os.Stat("/var/lib/credant/home/resolver.json"); err == nil {
		t.Error("there is still something to undo")
	}
}

// What systemd-resolved forgets, or is told by others, it is told again.
func TestResolvedIsKept(t *testing.T) {
	if !inHost(t, resolvedPackages...) {
		return
	}
	useResolved(t)
	startBus(t)
	serve(t, false, "10.0.0.53:53")
	serve(t, true, "10.20.0.1:53")
	stopResolved := startResolved(t)
	h, _ := startHost(t, ModeAuto, "10.20.0.1:53")
	inMode(t, h, ModeResolved)
	hasServer(t, "10.20.0.1")

	t.Log("restarted, without what it keeps in /run")
	stopResolved()
	must(t, os.RemoveAll("/run/systemd/resolve"))
	stopResolved = startResolved(t)
	hasServer(t, "10.20.0.1")
	finds(t, "nas.home.internal", "10.20.0.7")

	t.Log("reverted")
	run(t, "resolvectl", "revert", "credant0")
	hasServer(t, "10.20.0.1")

	t.Log("interface made anew")
	link, err := netlink.LinkByName("credant0")
	must(t, err)
	must(t, netlink.LinkDel(link))
	makeLink(t, "credant0", "10.20.0.1/16", "fd00:1::1/64")
	hasServer(t, "10.20.0.1")
	finds(t, "nas.home.internal", "10.20.0.7")

	t.Log("other prefixes")
	h.SetReverse([]string{"30.10.in-addr.arpa"})
	hasServer(t, "~30.10.in-addr.arpa")

	t.Log("another port")
	serve(t, true, "127.77.0.1:5300")
	h.Set(addrPorts("127.77.0.1:5300"), nil)
	hasServer(t, "127.77.0.1:5300")
	finds(t, "nas.home.internal", "10.20.0.7")

	t.Log("gone for long: the names are in /etc/hosts; back: they are not")
	h.Set(addrPorts("10.20.0.1:53"), []Entry{{Addr: addrPorts("10.20.0.7:1")[0].Addr(), Names: []string{"nas.home.internal"}}})
	hasServer(t, "10.20.0.1")
	stopResolved()
	if s := inMode(t, h, ModeHosts); !strings.Contains(s.Why, "not running") {
		t.Errorf("status %+v", s)
	}
	finds(t, "nas", "10.20.0.7")
	startResolved(t)
	inMode(t, h, ModeResolved)
	hasServer(t, "10.20.0.1")
	if hosts := read(t, "/etc/hosts"); strings.Contains(hosts, "credant") {
		t.Errorf("hosts: %s", hosts)
	}
}

// A bus that is restarted takes the connection with it.
func TestResolvedOnNewBus(t *testing.T) {
	if !inHost(t, resolvedPackages...) {
		return
	}
	useResolved(t)
	stopBus := startBus(t)
	stopResolved := startResolved(t)
	h, _ := startHost(t, ModeAuto, "10.20.0.1:53")
	inMode(t, h, ModeResolved)
	stopBus()
	stopResolved()
	must(t, os.RemoveAll("/run/systemd/resolve"))
	startBus(t)
	startResolved(t)
	hasServer(t, "10.20.0.1")
	inMode(t, h, ModeResolved)
}

func TestResolvedIsLeftAndCleaned(t *testing.T) {
	if !inHost(t, resolvedPackages...) {
		return
	}
	useResolved(t)
	startBus(t)
	startResolved(t)
	h, stop := startHost(t, ModeAuto, "10.20.0.1:53")
	inMode(t, h, ModeResolved)
	stop(ErrKeep)
	hasServer(t, "10.20.0.1")

	t.Log("the next start adopts, and changes nothing")
	h, stop = startHost(t, ModeAuto, "10.20.0.1:53")
	inMode(t, h, ModeResolved)
	hasServer(t, "10.20.0.1")
	stop(ErrKeep)

	removed, err := Clean("", "home", "/var/lib/credant/home/resolver.json")
	must(t, err)
	if len(removed) != 1 || !strings.Contains(removed[0], "credant0") {
		t.Errorf("removed %q", removed)
	}
	hasNothing(t)
	if removed, err := Clean("", "home", "/var/lib/credant/home/resolver.json"); err != nil || len(removed) > 0 {
		t.Errorf("removed %q, %v from a clean host", removed, err)
	}
}

// A systemd-resolved that nobody asks is no way to find names.
func TestResolvedUnused(t *testing.T) {
	if !inHost(t, resolvedPackages...) {
		return
	}
	useResolved(t)
	must(t, os.Remove("/etc/resolv.conf"))
	write(t, "/etc/resolv.conf", "nameserver 10.0.0.53\n")
	startBus(t)
	startResolved(t)
	h, _ := startHost(t, ModeAuto, "10.20.0.1:53")
	if s := inMode(t, h, ModeHosts); !strings.Contains(s.Why, "/etc/resolv.conf") {
		t.Errorf("status %+v", s)
	}
	finds(t, "nas", "10.20.0.7")
	hasNothing(t)

	t.Log("nsswitch.conf names it from now on")
	write(t, "/etc/nsswitch.conf", "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n")
	if s := inMode(t, h, ModeResolved); !strings.Contains(s.Lacks, "dig") {
		t.Errorf("status %+v", s)
	}
	hasServer(t, "10.20.0.1")
}
