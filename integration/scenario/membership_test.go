package scenario

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
)

// run runs a command of credant and returns all that it printed, and whether it
// succeeded.
func (n *node) run(args ...string) (string, bool) {
	n.w.t.Helper()
	result, err := n.Run(n.w.within(30*time.Second), args...)
	n.w.must(err)
	return result.Output, result.Code == 0
}

// must is run of a command that has to succeed.
func (n *node) must(args ...string) string {
	n.w.t.Helper()
	out, ok := n.run(args...)
	if !ok {
		n.w.t.Fatalf("credant %s on %s: %s", strings.Join(args, " "), n.Host.Name, out)
	}
	return out
}

// refused is run of a command that has to fail and to say that.
func (n *node) refused(say string, args ...string) {
	n.w.t.Helper()
	if out, ok := n.run(args...); ok || !strings.Contains(out, say) {
		n.w.t.Errorf("credant %s on %s: succeeded %v and said %q, want %q", strings.Join(args, " "), n.Host.Name, ok, out, say)
	}
}

// folder is where the node keeps its state, in its own view.
func folder() string { return filepath.Join(control.DefaultStateDir, networkName) }

// remembers waits until the node has a text in its memory.
func (n *node) remembers(text string) {
	n.w.t.Helper()
	n.w.eventually(time.Minute, n.Host.Name+" remembers "+text, func() bool {
		var b []byte
		err := n.Host.Do(func() (err error) {
			b, err = os.ReadFile(filepath.Join(folder(), "memory.json"))
			return err
		})
		return err == nil && strings.Contains(string(b), text)
	})
}

// finds tells whether the node has one under a name.
func (n *node) finds(name string) bool {
	n.w.t.Helper()
	return slices.ContainsFunc(n.status().Peers, func(p localapi.Peer) bool { return slices.Contains(p.Names, name) })
}

// trio are three nodes on one LAN, not started yet. The last has no fixed name.
func trio(t *testing.T) (w *world, a, b, c *node) {
	t.Helper()
	w = newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted)
	a, b, c = w.join(home.Host("alice")), w.join(home.Host("bob")), w.join(home.Host("carol"))
	c.Unnamed = true
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-port-mapping", "--dns", "hosts"}
	return w, a, b, c
}

// Chosen addresses of both families carry traffic; who comes late is told of the
// holder, and gets the address when the holder leaves for good.
func TestChosenAddresses(t *testing.T) {
	w, a, b, c := trio(t)
	c.Unnamed = false
	subnet := []string{"--subnet", "10.20.0.0/16"}
	six := netip.MustParsePrefix(a.up(append(subnet, "--ip", "10.20.0.5")...).Prefixes[0]).Addr().String() + "7"
	b.up(append(subnet, "--ip", "10.20.0.6", "--ip", "10.20.0.7", "--ip", six)...)
	a.reach(b, 30*time.Second)
	for _, addr := range []string{"10.20.0.6", "10.20.0.7", six} {
		w.eventually(30*time.Second, "an answer from "+addr, func() bool {
			result, err := a.Host.Run(w.within(15*time.Second), "ping", "-c", "1", "-W", "2", addr)
			return err == nil && result.Code == 0
		})
	}
	for _, addr := range []string{"10.20.0.7", six} {
		b.remembers(addr)
	}
	c.up(append(subnet, "--ip", "10.20.0.8", "--ip", six)...)
	c.reach(b, 30*time.Second)
	w.eventually(time.Minute, "a word on the holder", func() bool {
		return slices.ContainsFunc(c.status().Notices, func(n string) bool {
			return strings.Contains(n, six+" belongs to bob") && strings.Contains(n, "--ip")
		})
	})
	if got := c.status().Self.Addresses; slices.Contains(got, six) || !slices.Contains(got, "10.20.0.8") {
		t.Errorf("carol has %q", got)
	}
	b.must("leave", "--yes")
	w.eventually(time.Minute, "the address is carol's", func() bool {
		return slices.Contains(c.status().Self.Addresses, six)
	})
	w.eventually(30*time.Second, "an answer of carol at it", func() bool {
		result, err := a.Host.Run(w.within(15*time.Second), "ping", "-c", "1", "-W", "2", six)
		return err == nil && result.Code == 0
	})
}

// A node is renamed and gets an extra name while it runs, and keeps both over a
// crash; one that is gone is forgotten; one that leaves is nowhere at once, and
// nothing of it is left on its host.
func TestRenameForgetLeave(t *testing.T) {
	w, a, b, c := trio(t)
	a.up()
	b.up()
	c.up()
	a.reach(b, 30*time.Second)
	c.reach(a, 30*time.Second)
	c.reach(b, 30*time.Second)
	b.refused("set by --name", "rename", "bert")
	c.refused("1 to 63", "rename", "Not A Name")
	c.must("rename", "printer")
	c.must("dns", "add", "scan")
	for _, n := range []*node{a, b} {
		w.eventually(30*time.Second, n.Host.Name+" finds the printer", func() bool { return n.finds("printer") && n.finds("scan") })
	}
	if out := a.must("dns"); !strings.Contains(out, "printer") || !strings.Contains(out, "scan") {
		t.Errorf("dns says %s", out)
	}
	a.refused("is here", "forget", "printer")

	c.Joined = true
	c.Daemon().Kill()
	w.eventually(time.Minute, "alice forgets the printer", func() bool {
		out, ok := a.run("forget", "printer")
		if strings.Contains(out, "is here") {
			t.Fatalf("one that has just gone: %s", out)
		}
		return ok
	})
	time.Sleep(scaled(3 * time.Second)) // for the others to bring it back, if they could
	if a.finds("printer") || !b.finds("printer") {
		t.Errorf("alice knows the printer: %v, bob: %v", a.finds("printer"), b.finds("printer"))
	}
	if status := c.up(); status.Self.Name != "printer" || !slices.Contains(status.Self.Aliases, "scan") {
		t.Errorf("started again it is %q, %q", status.Self.Name, status.Self.Aliases)
	}
	w.eventually(time.Minute, "alice knows the printer again", func() bool { return a.finds("printer") })
	c.must("dns", "remove", "scan")
	w.eventually(30*time.Second, "the extra name is gone", func() bool { return !a.finds("scan") })
	c.reach(a, 30*time.Second)
	c.reach(b, 30*time.Second)

	c.refused("no terminal to ask at", "leave")
	if out := c.must("leave", "--yes"); !strings.Contains(out, "2 nodes were told") {
		t.Errorf("leave says %s", out)
	}
	if code, err := c.Daemon().Wait(w.within(30 * time.Second)); err != nil || code != 0 {
		t.Errorf("the daemon ended with %d, %v", code, err)
	}
	for _, n := range []*node{a, b} {
		w.eventually(30*time.Second, n.Host.Name+" has no printer", func() bool { return !n.finds("printer") })
	}
	err := c.Host.Do(func() error {
		_, err := os.Stat(folder())
		return err
	})
	if !os.IsNotExist(err) {
		left, _ := c.Host.Run(w.within(10*time.Second), "ls", "-A", folder())
		t.Errorf("what is kept of the network is not gone: %v: %s", err, left.Output)
	}
	c.refused("there is nothing to leave", "leave", "--yes")
}

// An ephemeral node that is taken down is nowhere at once.
func TestEphemeralGoesAtOnce(t *testing.T) {
	w, a, b, _ := trio(t)
	a.up()
	if !b.up("--ephemeral").Self.Ephemeral {
		t.Error("status does not say so")
	}
	a.reach(b, 30*time.Second)
	b.reach(a, 30*time.Second)
	b.down()
	w.eventually(30*time.Second, "bob is gone", func() bool { return !a.finds("bob") })
	b.Joined = true
	b.up("--ephemeral")
	a.reach(b, 30*time.Second)
}
