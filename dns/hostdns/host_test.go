package hostdns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/strict"
)

const insideEnv = "CREDANT_TEST_HOST" // the folder for a host's root, in the process that is inside

// inHost runs the rest of a test in a host of its own: this process again, in
// namespaces of networks, mounts and processes, on a root that is the machine's
// with the packages over it. It returns true inside.
func inHost(t *testing.T, packages ...string) bool {
	t.Helper()
	if dir := os.Getenv(insideEnv); dir != "" {
		makeRoot(t, dir, packages)
		makeLinks(t)
		return true
	}
	if os.Geteuid() != 0 {
		strict.Skip(t, "namespaces need root")
	}
	t.Parallel()
	c := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	c.Env = append(os.Environ(), insideEnv+"="+t.TempDir())
	// With its first process all others of a process namespace end.
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("%s", out)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("the test did not run inside:\n%s", out)
	}
	t.Logf("%s", out)
	return false
}

func makeRoot(t *testing.T, dir string, packages []string) {
	t.Helper()
	cache := os.Getenv("CREDANT_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		must(t, err)
		cache = filepath.Join(user, "credant")
	}
	for _, p := range packages {
		if _, err := os.Stat(filepath.Join(cache, "debian", p)); err != nil {
			strict.Skip(t, "package "+p+" is not unpacked: make deps")
		}
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	for _, d := range []string{"upper", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	root := filepath.Join(dir, "root")
	must(t, unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)))
	for _, p := range packages {
		run(t, "cp", "-a", filepath.Join(cache, "debian", p)+"/.", root)
	}
	must(t, unix.Mount("/dev", root+"/dev", "", unix.MS_BIND|unix.MS_REC, ""))
	must(t, unix.Mount("proc", root+"/proc", "proc", 0, ""))
	must(t, unix.Mount("sysfs", root+"/sys", "sysfs", 0, ""))
	must(t, unix.Mount("tmpfs", root+"/run", "tmpfs", 0, ""))
	must(t, unix.Mount("tmpfs", root+"/tmp", "tmpfs", 0, ""))
	must(t, unix.Chroot(root))
	must(t, os.Chdir("/"))
	must(t, os.Chmod("/tmp", 0o1777))
	must(t, os.RemoveAll("/var/lib/credant"))
	must(t, os.MkdirAll("/var/lib/credant/home", 0o700))
	must(t, os.MkdirAll("/run/dbus", 0o755))
	must(t, os.MkdirAll("/run/systemd", 0o755))
	write(t, "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 desk\n")
	write(t, "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	write(t, "/etc/resolv.conf", "nameserver 10.0.0.53\n")
}

// makeLinks makes the network's interface and an uplink. Their servers' addresses
// are on the loopback interface.
func makeLinks(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	addAddr(t, lo, "10.0.0.53/32")
	makeLink(t, "eth0", "10.0.0.2/24")
	makeLink(t, "credant0", "10.20.0.1/16", "fd00:1::1/64")
}

func makeLink(t *testing.T, name string, addrs ...string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "x" + name}))
	link, err := netlink.LinkByName(name)
	must(t, err)
	peer, err := netlink.LinkByName("x" + name)
	must(t, err)
	must(t, netlink.LinkSetUp(peer))
	must(t, netlink.LinkSetUp(link))
	for _, a := range addrs {
		addAddr(t, link, a)
	}
}

func addAddr(t *testing.T, link netlink.Link, addr string) {
	t.Helper()
	a, err := netlink.ParseAddr(addr)
	must(t, err)
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	must(t, netlink.AddrAdd(link, a))
}

// start runs a daemon of the host until the test ends, or stop is called.
func start(t *testing.T, path string, args ...string) (stop func()) {
	t.Helper()
	c := exec.Command(path, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	must(t, c.Start())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = c.Process.Kill()
		_ = c.Wait() // "signal: killed"
		if t.Failed() {
			t.Logf("%s said: %s", path, out.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

// startBus runs a system bus that lets everybody do everything.
func startBus(t *testing.T) (stop func()) {
	t.Helper()
	write(t, "/tmp/bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`)
	_ = os.Remove(busSocket)
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		strict.Skip(t, "there is no dbus-daemon: make deps")
	}
	stop = start(t, path, "--config-file=/tmp/bus.conf", "--nofork", "--nopidfile")
	eventually(t, "the bus is there", func() error {
		_, err := os.Stat(busSocket)
		return err
	})
	return stop
}

// startHost runs a Host on network "home" until the test ends, or stop is called
// with the cause.
func startHost(t *testing.T, mode string, servers ...string) (h *Host, stop func(error)) {
	t.Helper()
	h = New(Config{
		Network: "home", Interface: "credant0", Domain: "home.internal", Mode: mode,
		Reverse: []string{"20.10.in-addr.arpa", "1.0.0.0.0.0.d.f.ip6.arpa"},
		Record:  "/var/lib/credant/home/resolver.json", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	h.Set(addrPorts(servers...), []Entry{{Addr: netip.MustParseAddr("10.20.0.7"), Names: []string{"nas.home.internal"}}})
	return h, startRun(t, h)
}

// startRun runs h until the test ends, or stop is called with the cause.
func startRun(t *testing.T, h *Host) (stop func(error)) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	stopped := false
	stop = func(cause error) {
		if stopped {
			return
		}
		stopped = true
		cancel(cause)
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(func() { stop(nil) })
	return stop
}

func addrPorts(list ...string) (servers []netip.AddrPort) {
	for _, s := range list {
		servers = append(servers, netip.MustParseAddrPort(s))
	}
	return servers
}

// inMode waits until the host is used in a mode.
func inMode(t *testing.T, h *Host, mode string) Status {
	t.Helper()
	eventually(t, "mode "+mode, func() error {
		if s := h.Status(); s.Mode != mode || s.Error != "" {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	return h.Status()
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// finds waits until a program of the host finds the address of a name.
func finds(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, "find "+name, func() error {
		out, err := exec.Command("getent", "ahostsv4", name).CombinedOutput()
		got, _, _ := strings.Cut(string(out), " ")
		if got != want {
			return fmt.Errorf("%w: %q, want %s", err, out, want)
		}
		return nil
	})
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
