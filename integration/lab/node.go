package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A goroutine of this package that changes its namespaces never unlocks its thread, so that the runtime ends it. It
// cannot end the process's first thread, which /proc/self shows to everyone: this keeps that one for main.
func init() { runtime.LockOSThread() }

// A Node is a network namespace with files of its own.
type Node struct {
	Name string

	netns, mntns int // file descriptors; -1 when not open
	links        *netlink.Handle
	sites        int // how many cables were handed out below it

	mu        sync.Mutex
	processes []*Process
	captures  []*Capture
}

func newNode(name string) *Node {
	return &Node{Name: name, netns: -1, mntns: -1}
}

// open makes the namespaces.
func (n *Node) open() error {
	if len(n.Name) > unix.IFNAMSIZ-1 {
		return fmt.Errorf("make node %s: the name is too long for an interface", n.Name)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make namespaces: %w (network namespaces need root)", err)
		}
		if err := mountPrivate(); err != nil {
			return err
		}
		var err error
		if n.netns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		// Nobody else can have an address of ours, and looking for that takes a second after each link comes up.
		for _, scope := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/accept_dad", []byte("0"), 0o644); err != nil {
				return fmt.Errorf("switch off duplicate address detection: %w", err)
			}
		}
		if n.mntns, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open mount namespace: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make node %s: %w", n.Name, err)
	}
	if n.links, err = netlink.NewHandleAt(netns.NsHandle(n.netns), unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink in %s: %w", n.Name, err)
	}
	return n.setUp("lo")
}

// mountPrivate gives the calling thread's mount namespace its own /run, /var/lib, /dev/shm, /etc and a /sys that
// shows its network namespace.
func mountPrivate() error {
	mount := func(source, target, kind string, flags uintptr, options string) error {
		if err := unix.Mount(source, target, kind, flags, options); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		return nil
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/var/lib", "/dev/shm"} {
		if err := mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/lab/upper", "/run/lab/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/run/lab/upper,workdir=/run/lab/work"); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/machine-id", fmt.Appendf(nil, "%x\n", randomBytes(16)), 0o444); err != nil {
		return fmt.Errorf("write machine id: %w", err)
	}
	// Mounted one by one, as in any container: a program that renames a new file over them fails.
	for name, content := range map[string]string{
		"hosts":       "127.0.0.1 localhost\n::1 localhost\n",
		"resolv.conf": "# no name server in this lab\n",
	} {
		source, target := filepath.Join("/run/lab", name), filepath.Join("/etc", name)
		_ = os.Remove(target) // it may be a link into the /run that is gone
		for _, file := range []string{source, target} {
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				return fmt.Errorf("write %s: %w", file, err)
			}
		}
		if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// onThread runs fn on a thread of its own that ends with it.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := fmt.Errorf("the function did not return")
		defer func() { result <- err }()
		err = fn()
	}()
	return <-result
}

// Do runs fn in the node: sockets it opens, files it reads and programs it starts are the node's. Goroutines that fn
// starts are not in the node.
func (n *Node) Do(fn func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// enter moves the calling thread, which must be locked for good, into the node.
func (n *Node) enter() error {
	// A thread may leave its mount namespace only when it shares no working directory with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter %s: unshare working directory: %w", n.Name, err)
	}
	if err := unix.Setns(n.netns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network of %s: %w", n.Name, err)
	}
	if err := unix.Setns(n.mntns, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter files of %s: %w", n.Name, err)
	}
	return nil
}

// ListenUDP opens a UDP socket in the node.
func (n *Node) ListenUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.Name, err)
	}
	return conn, nil
}

// close ends the node's programs and captures and lets its namespaces go.
func (n *Node) close() error {
	n.mu.Lock()
	processes, captures := n.processes, n.captures
	n.processes, n.captures = nil, nil
	n.mu.Unlock()
	for _, p := range processes {
		p.Kill()
	}
	for _, c := range captures {
		c.Stop()
	}
	if n.links != nil {
		n.links.Close()
		n.links = nil
	}
	for _, fd := range []*int{&n.netns, &n.mntns} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	return nil
}

// loadRules feeds nft.
func (n *Node) loadRules(rules string) error {
	return n.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("load rules of %s: %w: %s", n.Name, err, out)
		}
		return nil
	})
}

// forward makes the node a router.
func (n *Node) forward() error {
	return n.Do(func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte("1"), 0o644); err != nil {
				return fmt.Errorf("make %s forward: %w", n.Name, err)
			}
		}
		// Or a bridge hands a datagram that a rule turns back to its own host to nobody (absent without br_netfilter).
		for _, family := range []string{"ip", "ip6"} {
			err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+family+"tables", []byte("0"), 0o644)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("keep bridges of %s out of its rules: %w", n.Name, err)
			}
		}
		return nil
	})
}
