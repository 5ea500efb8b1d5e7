package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/strict"
)

// unpacked is where integration/deps put a package of Debian's.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	cache := os.Getenv("CREDANT_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "credant")
	}
	dir := filepath.Join(cache, "debian", name)
	if _, err := os.Stat(dir); err != nil {
		strict.Skip(t, "package "+name+" is not unpacked: make deps")
	}
	return dir
}

// A bus that lets everybody do everything.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`

// resolvedHost makes the host one that looks names up by systemd-resolved, and starts the bus.
func (w *world) resolvedHost(h *lab.Host) {
	w.t.Helper()
	layers := map[string][]string{"/usr/bin": nil, "/usr/lib": nil}
	for _, p := range []string{"systemd-resolved", "libsystemd-shared"} {
		dir := unpacked(w.t, p)
		for target := range layers {
			if _, err := os.Stat(dir + target); err == nil {
				layers[target] = append(layers[target], dir+target)
			}
		}
	}
	w.must(h.Do(func() error {
		for target, lower := range layers {
			options := "lowerdir=" + strings.Join(append(lower, target), ":")
			if err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, options); err != nil {
				return fmt.Errorf("put packages over %s: %w", target, err)
			}
		}
		for _, dir := range []string{"/run/dbus", "/run/systemd"} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		for file, text := range map[string]string{
			"/etc/passwd":   "root:x:0:0::/root:/bin/sh\nsystemd-resolve:x:997:997::/:/usr/sbin/nologin\n",
			"/etc/group":    "root:x:0:\nsystemd-resolve:x:997:\n",
			"/run/bus.conf": busConfig,
		} {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				return err
			}
		}
		if err := unix.Unmount("/etc/resolv.conf", 0); err != nil {
			return fmt.Errorf("unmount /etc/resolv.conf: %w", err)
		}
		if err := os.Remove("/etc/resolv.conf"); err != nil {
			return err
		}
		return os.Symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
	}))
	_, err := h.Start(lab.Program{Args: []string{"dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile"}})
	w.must(err)
	w.eventually(30*time.Second, "the bus is there", func() bool {
		return h.Do(func() error {
			_, err := os.Stat("/run/dbus/system_bus_socket")
			return err
		}) == nil
	})
}

// startResolved starts systemd-resolved and returns once it answers.
func (w *world) startResolved(h *lab.Host) *lab.Process {
	w.t.Helper()
	p, err := h.Start(lab.Program{Args: []string{"/usr/lib/systemd/systemd-resolved"}})
	w.must(err)
	w.eventually(30*time.Second, "systemd-resolved answers", func() bool {
		result, err := h.Run(w.within(30*time.Second), "resolvectl", "status", "--no-pager")
		w.must(err)
		return result.Code == 0
	})
	return p
}

// A host of systemd-resolved asks our server for the names of the network, and for nothing else: programs find the
// nodes, also after systemd-resolved was restarted, and no longer after "down".
func TestNamesByResolved(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	w.resolvedHost(a.Host)
	resolved := w.startResolved(a.Host)
	hosts := w.output(a.Host, "cat", "/etc/hosts")
	a.up()
	b.up()
	b.reach(a, 30*time.Second)
	b.command("dns", "add", "git")
	b4, b6 := b.addresses()
	w.eventually(30*time.Second, "systemd-resolved is told", func() bool {
		names := a.status().Names
		return names != nil && names.Mode == "resolved" && names.Error == ""
	})
	check := func() {
		t.Helper()
		for _, name := range []string{"bob.home.internal", "bob", "git.home.internal"} {
			w.resolves(a.Host, name, b4)
			w.resolves(a.Host, name, b6)
		}
		for _, addr := range []string{b4, b6} {
			w.eventually(30*time.Second, "the name of "+addr, func() bool {
				result, err := a.Host.Run(w.within(30*time.Second), "getent", "hosts", addr)
				w.must(err)
				return strings.Contains(result.Stdout, "bob.home.internal")
			})
		}
	}
	check()
	w.output(a.Host, "ping", "-4", "-c3", "-i0.2", "-W10", "bob")
	w.output(a.Host, "ping", "-6", "-c3", "-i0.2", "-W10", "bob.home.internal")
	if got := w.output(a.Host, "cat", "/etc/hosts"); got != hosts {
		t.Errorf("/etc/hosts was written, too:\n%s", got)
	}

	resolved.Kill()
	w.startResolved(a.Host)
	check()

	// A crash changes nothing; the next start takes over.
	a.Daemon().Kill()
	a.Joined = true
	a.up()
	check()

	a.down()
	result, err := a.Host.Run(w.within(30*time.Second), "resolvectl", "status", "--no-pager")
	w.must(err)
	if strings.Contains(result.Output, "home.internal") {
		t.Errorf("after down: %s", result.Output)
	}
}
