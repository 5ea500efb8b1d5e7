package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
)

// command runs a command of credant for the member's network, which must succeed.
func (n *node) command(args ...string) string {
	n.w.t.Helper()
	result, err := n.Run(n.w.within(15*time.Second), args...)
	n.w.must(err)
	if result.Code != 0 {
		n.w.t.Fatalf("%v on %s: exit code %d: %s", args, n.Host.Name, result.Code, result.Output)
	}
	return result.Stdout
}

// A node that is blocked is gone for the one who blocked it, at once and after a restart, and for nobody else.
func TestBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embedded")
	a, b, c := w.join(w.Host("alice")), w.join(w.Host("bob")), w.join(w.Host("carol"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	for _, n := range w.members {
		n.up()
		n.Joined = true
	}
	a.reach(b, 20*time.Second)
	a.reach(c, 20*time.Second)
	b.reach(c, 20*time.Second)
	var bob localapi.Peer
	bob, _ = a.peer(b)
	if out := a.command("block", "bob"); !strings.Contains(out, "bob (id "+bob.ID+") is blocked") {
		t.Errorf("block: %s", out)
	}
	gone := func(n *node) {
		t.Helper()
		if p, there := n.peer(b); there {
			t.Errorf("bob is still there: %+v", p)
		}
		if s := n.status(); len(s.Blocked) != 1 || s.Blocked[0].ID != bob.ID {
			t.Errorf("blocked: %+v", s.Blocked)
		}
		for _, to := range []string{"bob", bob.Addresses[0]} {
			if reply, err := n.Ping(w.within(15*time.Second), to); err == nil && reply.OK {
				t.Errorf("bob answers alice at %s", to)
			}
		}
	}
	gone(a)
	for _, address := range bob.Addresses {
		result, err := a.Host.Run(w.within(15*time.Second), "ping", "-c", "1", "-W", "1", address)
		w.must(err)
		if result.Code == 0 {
			t.Errorf("bob answers alice's packets at %s", address)
		}
	}
	for _, address := range a.status().Self.Addresses {
		result, err := b.Host.Run(w.within(15*time.Second), "ping", "-c", "2", "-W", "1", address)
		w.must(err)
		if result.Code == 0 {
			t.Errorf("alice answers bob's packets at %s", address)
		}
	}
	// Carol still tells of bob, and bob calls through carol.
	time.Sleep(scaled(5 * time.Second))
	gone(a)
	a.reach(c, 10*time.Second)
	b.reach(c, 10*time.Second)
	c.reach(b, 10*time.Second)

	a.down()
	a.up()
	a.reach(c, 20*time.Second)
	gone(a)
	if out := a.command("block"); !strings.Contains(out, bob.ID) || !strings.Contains(out, "bob") {
		t.Errorf("list: %s", out)
	}
	if _, there := a.peer(c); !there {
		t.Error("carol is gone as well")
	}

	a.command("unblock", "bob")
	a.reach(b, time.Minute)
	b.reach(a, time.Minute)
	if out := a.command("block"); !strings.Contains(out, "No node is blocked") {
		t.Errorf("list: %s", out)
	}
}
