package scenario

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// Two machines that know nothing of each other but a passphrase, behind two NATs, meet through the DHT alone: a ping
// within 5 s of the second one's up, on a direct path.
func TestDHTAloneBehindTwoNATs(t *testing.T) {
	for _, c := range []struct {
		name     string
		a, b     lab.NAT
		firewall bool
	}{
		{"both hide their port and filter by address and port", lab.PortRestricted.HidePort(), lab.PortRestricted.HidePort(), false},
		{"host firewalls behind the NATs", lab.PortRestricted, lab.AddressRestricted.HidePort(), true},
		{"one filters nothing", lab.FullCone.HidePort(), lab.PortRestricted, false},
	} {
		t.Run(c.name, func(t *testing.T) { meetByDHT(t, "embedded", c.a, c.b, c.firewall) })
	}
}

func TestKernelDHTAloneBehindTwoNATs(t *testing.T) {
	meetByDHT(t, "kernel", lab.PortRestricted.HidePort(), lab.AddressRestricted.HidePort(), true)
}

func meetByDHT(t *testing.T, backend string, natA, natB lab.NAT, firewall bool) {
	soon(t, 5*time.Second, "second up to first ping", func() time.Duration {
		return metByDHT(t, backend, natA, natB, firewall)
	})
}

func metByDHT(t *testing.T, backend string, natA, natB lab.NAT, firewall bool) time.Duration {
	w := newWorld(t, backend)
	w.typed = true
	a := w.join(w.NAT("home", natA).Host("alice"))
	b := w.join(w.NAT("office", natB).Host("bob"))
	a.Host.Firewall, b.Host.Firewall = firewall, firewall
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")

	status := a.up()
	if status.Backend != backend {
		t.Fatalf("backend %s, want %s", status.Backend, backend)
	}
	reply, took := b.startAndReach(a, patience)
	if reply.Path != "direct" {
		t.Errorf("path %s, want direct", reply.Path)
	}
	a.reach(b, patience)
	w.end()
	return took
}

// Carrier-grade NAT is one more NAT in the way, no more.
func TestDHTAloneBehindDoubleNAT(t *testing.T) {
	w := newWorld(t, "embedded")
	carrier := w.NAT("carrier", lab.PortRestricted.HidePort())
	carrier.LAN = netip.MustParsePrefix("100.64.0.0/24")
	a := w.join(carrier.Router("home", lab.PortRestricted).Host("alice"))
	b := w.join(w.NAT("office", lab.PortRestricted.HidePort()).Host("bob"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	a.up()
	b.up()
	reply, took := b.reach(a, 5*time.Second)
	t.Logf("first ping after %v", took.Round(time.Millisecond))
	if reply.Path != "direct" {
		t.Errorf("path %s, want direct", reply.Path)
	}
}

// Who has met before meets again without any source but the cache.
func TestWarmStartWithoutDHT(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.PortRestricted.HidePort()).Host("alice"))
	b := w.join(w.NAT("office", lab.PortRestricted.HidePort()).Host("bob"))
	dhtHost := w.addDHT()
	w.build()
	dht := w.startDHT(dhtHost)
	w.flags = append(w.flags, "--no-stun")
	a.up()
	b.up()
	b.reach(a, 10*time.Second)
	dht.Stop()
	b.down()
	began := time.Now()
	b.up()
	b.reach(a, 5*time.Second)
	t.Logf("up to first ping: %v", time.Since(began).Round(time.Millisecond))
}

// Two machines on one switch meet with the uplink cut, within a second, the first time and when they have met before.
func TestLANWithUplinkCut(t *testing.T)       { meetOnLAN(t, "embedded") }
func TestKernelLANWithUplinkCut(t *testing.T) { meetOnLAN(t, "kernel") }

func meetOnLAN(t *testing.T, backend string) {
	soon(t, time.Second, "the longer one", func() time.Duration { return metOnLAN(t, backend) })
}

func metOnLAN(t *testing.T, backend string) (longest time.Duration) {
	w := newWorld(t, backend)
	home := w.NAT("home", lab.PortRestricted)
	a, b := w.join(home.Host("alice")), w.join(home.Host("bob"))
	w.build()
	w.must(home.Uplink.Cut())

	a.up()
	for _, start := range []string{"cold", "warm"} {
		b.start()
		began := time.Now()
		_, err := b.WaitUp(w.within(patience))
		w.must(err)
		b.reach(a, patience)
		took := time.Since(began)
		t.Logf("%s: second up to first ping: %v", start, took.Round(time.Millisecond))
		longest = max(longest, took)
		w.eventually(patience, "the path is the LAN's", func() bool { // which the first answer may not know yet
			p, _ := b.peer(a)
			return p.Path == "lan"
		})
		b.down()
	}
	w.end()
	return longest
}

// A third machine that can reach only one member meets the others through it, directly, though nothing but that
// member's tunnels joins them.
func TestThirdMeetsThroughMember(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.PortRestricted.HidePort()).Host("alice"))
	b := w.join(w.Host("bob"))
	c := w.join(w.NAT("office", lab.PortRestricted.HidePort()).Host("carol"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan"}

	const port = "23456"
	b.up("--port", port)
	bootstrap := b.Host.IPv4()[0].String() + ":" + port
	a.up("--bootstrap", bootstrap)
	a.reach(b, 5*time.Second)

	began := time.Now()
	c.up("--bootstrap", bootstrap)
	reply, _ := c.reach(a, 5*time.Second)
	t.Logf("up to first ping to the one it was told of: %v", time.Since(began).Round(time.Millisecond))
	if reply.Path != "direct" {
		t.Errorf("path %s, want direct", reply.Path)
	}
	if _, found := a.peer(c); !found {
		t.Error("the other side's status does not name it")
	}
}

// Both families: two machines whose routers firewall IPv6 reach each other by it.
func TestIPv6ThroughFirewalls(t *testing.T) {
	w := newWorld(t, "embedded")
	home, office := w.NAT("home", lab.Symmetric), w.NAT("office", lab.Symmetric)
	home.IPv6, office.IPv6 = true, true
	a, b := w.join(home.Host("alice")), w.join(office.Host("bob"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	a.up()
	b.up()
	reply, took := b.reach(a, 10*time.Second)
	t.Logf("first ping after %v by %s", took.Round(time.Millisecond), reply.Endpoint)
	if reply.Path != "direct" || reply.Endpoint == "" || reply.Endpoint[0] != '[' {
		t.Errorf("path %s to %s, want a direct one by IPv6", reply.Path, reply.Endpoint)
	}
}

// A machine in two networks has two interfaces, and both work.
func TestTwoNetworksOnOneHost(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted)
	alice, bob := home.Host("alice"), home.Host("bob")
	a1, a2, b1, b2 := w.join(alice), w.join(alice), w.join(bob), w.join(bob)
	a2.Network, b2.Network = "other", "other"
	w.build()
	w.flags = []string{"--no-dht", "--no-stun"}
	first, second := a1.up(), a2.up()
	b1.up()
	b2.up()
	if first.Interface == second.Interface || first.Port == second.Port {
		t.Errorf("both on interface %s and %s, port %d and %d", first.Interface, second.Interface, first.Port, second.Port)
	}
	b1.reach(a1, 5*time.Second)
	b2.reach(a2, 5*time.Second)
	if first.NetworkID == second.NetworkID {
		t.Error("two networks of one passphrase have one id")
	}
	// Taking one down leaves the other.
	a1.down()
	b2.reach(a2, time.Second)
}
