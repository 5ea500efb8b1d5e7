package main

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The two links: alice - relay - bob.
var (
	alice      = netip.MustParseAddr("10.1.0.2")
	relayAlice = netip.MustParseAddr("10.1.0.1")
	relayBob   = netip.MustParseAddr("10.2.0.1")
	bob        = netip.MustParseAddr("10.2.0.2")
)

// A world is three namespaces in a row.
type world struct{ alice, relay, bob space }

// A space is a network namespace; it is gone when its descriptor is closed and
// nothing runs there.
type space int

func newWorld() (w world, err error) {
	for _, s := range []*space{&w.alice, &w.relay, &w.bob} {
		if *s, err = newSpace(); err != nil {
			return w, err
		}
	}
	if err := connect(w.relay, "alice", relayAlice, w.alice, alice); err != nil {
		return w, err
	}
	return w, connect(w.relay, "bob", relayBob, w.bob, bob)
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func newSpace() (space, error) {
	fd := -1
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w (this needs root)", err)
		}
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return space(fd), err
}

// do runs f in the namespace: sockets opened and programs started there are its.
func (s space) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(s), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// connect joins two namespaces by a veth, named at a's end after what is at b's.
func connect(a space, name string, addrA netip.Addr, b space, addrB netip.Addr) error {
	err := a.do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b),
		})
	})
	if err != nil {
		return fmt.Errorf("add veth to %s: %w", name, err)
	}
	if err := a.do(func() error { return setUp(name, addrA) }); err != nil {
		return err
	}
	return b.do(func() error { return setUp("eth0", addrB) })
}

func setUp(name string, addr netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	prefix := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: prefix}); err != nil {
		return fmt.Errorf("add address %v: %w", addr, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	return nil
}
