package scenario

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Two machines that start at the same moment, having met before, do not get into
// each other's way: crossing handshakes would cost them five seconds.
func TestBothStartAtOnce(t *testing.T) {
	_, a, b := twoOnLAN(t, "embedded")
	a.up()
	b.up()
	b.reach(a, 5*time.Second)
	a.Joined, b.Joined = true, true
	var all []time.Duration
	for range 10 {
		a.down()
		b.down()
		a.start()
		b.up()
		_, took := b.reach(a, patience)
		all = append(all, took)
	}
	slices.Sort(all)
	t.Logf("in order: %v", all)
	if took := all[len(all)/2]; took > scaled(time.Second) {
		t.Errorf("the median is %v, which is more than a second", took)
	}
	if took := all[len(all)-2]; took > scaled(4*time.Second) { // one in ten may be the machine's
		t.Errorf("two of ten took %v and more: did handshakes cross?", took)
	}
}

// A ping that is on its way while the other machine starts again is answered as
// soon as the tunnel is back.
func TestPingAcrossRestart(t *testing.T) {
	_, a, b := twoOnLAN(t, "embedded")
	a.up()
	b.up()
	b.reach(a, 5*time.Second)
	b.Joined = true
	for range 3 {
		soon(t, 2*time.Second, "an answer across a restart", func() time.Duration {
			b.Daemon().Kill()
			b.start()
			_, took := a.reach(b, patience)
			return took
		})
	}
}

// Down returns when all is clean: an up right after it finds its port free.
func TestDownThenUp(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.Host("alice"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan", "--port", "23456"}
	for range 10 {
		status := a.up()
		if status.Port != 23456 || len(status.Notices) != 0 {
			t.Fatalf("port %d, notices %q", status.Port, status.Notices)
		}
		if result, err := a.Run(w.within(10*time.Second), "down"); err != nil || result.Code != 0 {
			t.Fatalf("down: %v, exit code %d: %s", err, result.Code, result.Output)
		}
	}
}

// A host with IPv6 switched off takes part by IPv4, and does not claim the address
// that it could not set.
func TestIPv6SwitchedOff(t *testing.T) {
	w, a, b := twoOnLAN(t, "embedded")
	w.output(a.Host, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	status := a.up()
	if got := status.Self.Addresses; len(got) != 1 || strings.Contains(got[0], ":") {
		t.Errorf("addresses %q, want one of IPv4", got)
	}
	b.up()
	b.reach(a, 5*time.Second)
	a.reach(b, time.Second)
}

// A copied system disk, machine id and all, on the same LAN: both machines say so.
func TestTwinOnLAN(t *testing.T) {
	w, a, b := twoOnLAN(t, "embedded")
	a.up()
	files := map[string][]byte{}
	w.must(a.Host.Do(func() error {
		for _, name := range []string{"/var/lib/credant/home/network.key", "/var/lib/credant/home/node.key", "/etc/machine-id"} {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files[name] = content
		}
		return nil
	}))
	w.must(b.Host.Do(func() error {
		if err := os.MkdirAll("/var/lib/credant/home", 0o700); err != nil {
			return err
		}
		for name, content := range files {
			_ = os.Remove(name)
			if err := os.WriteFile(name, content, 0o600); err != nil {
				return err
			}
		}
		return nil
	}))
	b.Joined = true
	b.up()
	for _, n := range []*node{a, b} {
		w.eventually(5*time.Second, n.Host.Name+" tells of the twin", func() bool {
			return strings.Contains(strings.Join(n.status().Notices, "\n"), "this node's keys")
		})
	}
}
