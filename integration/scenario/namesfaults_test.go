package scenario

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// upAs starts the member under a name that is not its host's.
func (n *node) upAs(name string, flags ...string) {
	n.w.t.Helper()
	n.up(append([]string{"--name", name}, flags...)...)
}

// Two machines of one name: whoever was there first keeps it, on hosts that knew both; the other is found by a name of its
// own, both are told of, and a new name settles it.
func TestNameConflict(t *testing.T) {
	t.Parallel() // most of it is waiting
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted)
	a, b, c := w.join(home.Host("alice")), w.join(home.Host("bob")), w.join(home.Host("carol"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--dns", "hosts"}
	a.up()
	b.up()
	b.reach(a, 30*time.Second)
	_, b6 := b.addresses()
	w.resolves(a.Host, "bob.home.internal", b6)

	c.upAs("bob")
	c4, c6 := c.addresses()
	id := c.status().Self.ID
	other := "bob-" + id[:4]
	at := a.servers()[0]
	w.inZone(a.Host, at, other+".home.internal", c4)
	w.inZone(a.Host, at, id+".home.internal", c6)
	w.inZone(a.Host, at, "bob-"+b.status().Self.ID[:4]+".home.internal", b6)
	w.resolves(a.Host, other, c6)
	if got := w.dig(a.Host, at, "bob.home.internal", "AAAA"); !slices.Equal(got.records, []string{"bob.home.internal. 30 IN AAAA " + b6}) {
		t.Errorf("the name that was taken first: %s", got.all)
	}
	if got := w.dig(a.Host, at, "-x", c4); len(got.records) != 1 || !strings.HasSuffix(got.records[0], " PTR "+other+".home.internal.") {
		t.Errorf("name of %s: %s", c4, got.all)
	}
	told := func() bool {
		return strings.Contains(strings.Join(a.status().Notices, "\n"), "ask for the name bob")
	}
	w.eventually(30*time.Second, "alice tells of two nodes of one name", told)
	w.output(a.Host, "ping", "-c3", "-i0.2", "-W10", other)

	if result, err := c.Run(w.within(30*time.Second), "rename", "carol"); err != nil || result.Code == 0 || !strings.Contains(result.Output, "--name") {
		t.Errorf("rename where the command line sets the name: %v, exit code %d: %s", err, result.Code, result.Output)
	}
	c.down()
	c.Joined = true
	c.up()
	w.inZone(a.Host, at, "carol.home.internal", c6)
	w.eventually(30*time.Second, "the conflict is over", func() bool { return !told() })
	if got := w.dig(a.Host, at, other+".home.internal", "A"); got.status != "NXDOMAIN" {
		t.Errorf("the name of the conflict: %s", got.all)
	}
}

// Two networks on one host, with nodes of the same names: each has its own domain, and neither answers for the other.
func TestNamesOfTwoNetworks(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	w.flags = append(w.flags, "--dns", "hosts")
	office := func(n *node) *node {
		second := &node{w: w, Member: &member.Member{Host: n.Host, Binary: binary, Network: "office"}}
		w.members = append(w.members, second)
		return second
	}
	before := w.output(a.Host, "cat", "/etc/hosts")
	a2, b2 := office(a), office(b)
	for _, n := range []*node{a, b, a2, b2} {
		n.up()
	}
	_, home6 := b.addresses()
	_, office6 := b2.addresses()
	at, at2 := a.servers()[0], a2.servers()[0]
	if at == at2 || at.Port() != 53 || at2.Port() != 53 {
		t.Errorf("servers %v, %v", at, at2)
	}
	w.inZone(a.Host, at, "bob.home.internal", home6)
	w.inZone(a.Host, at2, "bob.office.internal", office6)
	w.dig(a.Host, at, "bob.office.internal", "AAAA").is(t, "the other network's name", "REFUSED", "")
	w.dig(a.Host, at2, "bob.home.internal", "AAAA").is(t, "the other network's name", "REFUSED", "")
	w.dig(a.Host, at, "-x", office6).is(t, "the other network's address", "REFUSED", "")
	w.resolves(a.Host, "bob.home.internal", home6)
	w.resolves(a.Host, "bob.office.internal", office6)

	// One goes, the other stays.
	a.down()
	w.resolves(a.Host, "bob.office.internal", office6)
	if hosts := w.output(a.Host, "cat", "/etc/hosts"); strings.Contains(hosts, "home.internal") {
		t.Errorf("/etc/hosts after home went down:\n%s", hosts)
	}
	w.dig(a.Host, at2, "bob.office.internal", "AAAA").is(t, "the one that stays", "NOERROR", "", "bob.office.internal. 30 IN AAAA "+office6)
	a2.down()
	if after := w.output(a.Host, "cat", "/etc/hosts"); after != before {
		t.Errorf("/etc/hosts at last:\n%s", after)
	}
}

// Another program has port 53 on all addresses: names are served at another port, which status names, and the host
// finds them nevertheless.
func TestNamesWithPort53Taken(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	other, err := a.Host.ListenUDP(netip.MustParseAddrPort("[::]:53"))
	w.must(err)
	defer other.Close()
	a.up("--dns", "hosts")
	b.up("--dns", "off")
	_, b6 := b.addresses()
	servers := a.servers()
	for _, s := range servers {
		if s.Port() != 10053 {
			t.Errorf("servers %v", servers)
		}
		w.inZone(a.Host, s, "bob.home.internal", b6)
	}
	w.resolves(a.Host, "bob", b6)

	// The next start has it again.
	other.Close()
	a.down()
	a.Joined = true
	a.up("--dns", "hosts")
	servers = a.servers()
	if servers[0].Port() != 53 {
		t.Errorf("servers %v", servers)
	}
	w.inZone(a.Host, servers[0], "bob.home.internal", b6)
}

// A daemon that is killed leaves names that stay right, the next one takes them over, and "down" alone clears them
// away. What others write into /etc/hosts meanwhile stays.
func TestNamesAcrossKill(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	w.flags = append(w.flags, "--dns", "hosts")
	before := w.output(a.Host, "cat", "/etc/hosts")
	a.up()
	b.up()
	a.Joined, b.Joined = true, true
	_, b6 := b.addresses()
	w.resolves(a.Host, "bob", b6)

	const users = "192.0.2.7 printer\n"
	for range 3 {
		a.Daemon().Kill()
		w.resolves(a.Host, "bob", b6)
		w.must(a.Host.Do(func() error {
			f, err := os.OpenFile("/etc/hosts", os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(users)
			f.Close()
			return err
		}))
		before += users
		a.up()
		w.inZone(a.Host, a.servers()[0], "bob.home.internal", b6)
		w.resolves(a.Host, "bob", b6)
	}
	if hosts := w.output(a.Host, "cat", "/etc/hosts"); strings.Count(hosts, "# BEGIN credant home") != 1 {
		t.Errorf("/etc/hosts after kills:\n%s", hosts)
	}

	// A node that is killed and comes back is found at its address, under a name that it changed meanwhile, and by its
	// extra names.
	b.command("dns", "add", "git")
	w.resolves(a.Host, "git", b6)
	b.Daemon().Kill()
	b.upAs("robert")
	w.inZone(a.Host, a.servers()[0], "robert.home.internal", b6)
	w.resolves(a.Host, "robert", b6)
	w.dig(a.Host, a.servers()[0], "git.home.internal", "AAAA").is(t, "an extra name of a node that was killed", "NOERROR", "",
		"git.home.internal. 30 IN CNAME robert.home.internal.", "robert.home.internal. 30 IN AAAA "+b6)
	w.eventually(30*time.Second, "the old name is gone", func() bool {
		result, err := a.Host.Run(w.within(15*time.Second), "getent", "ahosts", "bob.home.internal")
		w.must(err)
		return result.Code == 2
	})

	a.Daemon().Kill()
	if result, err := a.Run(w.within(30*time.Second), "down"); err != nil || result.Code != 0 {
		t.Errorf("down: %v, exit code %d: %s", err, result.Code, result.Output)
	}
	if after := w.output(a.Host, "cat", "/etc/hosts"); after != before {
		t.Errorf("/etc/hosts after down without a daemon:\n%swant:\n%s", after, before)
	}
}
