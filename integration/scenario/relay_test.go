package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// onlyRelay leaves a node nothing but relays to find others by.
var onlyRelay = []string{"--no-dht", "--no-stun", "--no-lan"}

// relay makes the host a relay, not started yet.
func (w *world) relay(h *lab.Host, flags ...string) *member.Relay {
	return &member.Relay{Host: h, Binary: relayBinary, Flags: flags}
}

// startRelay starts a relay after build, and shows what it said if the test fails.
func (w *world) startRelay(r *member.Relay) {
	w.t.Helper()
	w.must(r.Start(w.within(10 * time.Second)))
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("output of %s:\n%s", r.Daemon().Name, r.Daemon().Output())
		}
	})
}

// Two nodes behind NATs that no packet of the other's ever passes reach each other through a relay: the first ping is
// answered within a second of the second one's up.
func TestRelayBetweenSymmetricNATs(t *testing.T) {
	relayBetweenSymmetricNATs(t, "embedded")
}

func TestKernelRelayBetweenSymmetricNATs(t *testing.T) {
	relayBetweenSymmetricNATs(t, "kernel")
}

func relayBetweenSymmetricNATs(t *testing.T, backend string) {
	soon(t, time.Second, "second up to first ping", func() time.Duration { return relayBetween(t, backend) })
}

func relayBetween(t *testing.T, backend string) time.Duration {
	w := newWorld(t, backend)
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	vps := w.relay(w.Host("vps"), "--no-dht")
	w.build()
	w.startRelay(vps)
	w.flags = []string{"--no-dht", "--no-lan", "--relay", vps.Address()}

	a.up()
	reply, took := b.startAndReach(a, patience)
	if reply.Path != "relay" {
		t.Errorf("path %s, want relay", reply.Path)
	}
	a.reach(b, time.Second)
	for _, n := range []*node{a, b} {
		for _, p := range n.status().Peers {
			t.Logf("%s: %s", n.Host.Name, p.Reason)
			if p.Reason == "" || p.Relay == "" {
				t.Errorf("%s: status says neither why nor how it is relayed: %+v", n.Host.Name, p)
			}
		}
	}
	w.end()
	return took
}

// Nodes that know no relay find the one that serves their network in the DHT.
func TestRelayFoundInDHT(t *testing.T) {
	soon(t, 3*time.Second, "second up to first ping", func() time.Duration { return relayFoundInDHT(t) })
}

func relayFoundInDHT(t *testing.T) time.Duration {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	vps := w.relay(w.Host("vps"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	key, err := keys.DeriveNetworkKey([]byte(member.Passphrase), networkName)
	w.must(err)
	vps.Flags = append(w.flags, "--allow", key.ID().String())
	w.startRelay(vps)
	w.flags = append(w.flags, "--no-stun", "--no-lan")

	a.up()
	w.eventually(20*time.Second, "the first node finds the relay", func() bool {
		relays := a.status().Relays
		return len(relays) == 1 && relays[0].Home
	})
	reply, took := b.startAndReach(a, patience)
	if reply.Path != "relay" {
		t.Errorf("path %s, want relay", reply.Path)
	}
	w.end()
	return took
}

// A pair that was relayed moves to a direct path as soon as there is one, under traffic both ways and without losing
// a packet, and it stays there.
func TestRelayedToDirect(t *testing.T) { relayedToDirect(t, "embedded", 1000) }

func TestKernelRelayedToDirect(t *testing.T) { relayedToDirect(t, "kernel", 200) }

func relayedToDirect(t *testing.T, backend string, perSecond int) {
	w := newWorld(t, backend)
	home, office := w.NAT("home", lab.PortRestricted.HidePort()), w.NAT("office", lab.PortRestricted.HidePort())
	a, b := w.join(home.Host("alice")), w.join(office.Host("bob"))
	vps := w.relay(w.Host("vps"), "--no-dht")
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	w.shut(home, office)
	a.up()
	b.up()
	if reply, _ := b.reach(a, 5*time.Second); reply.Path != "relay" {
		t.Fatalf("path %s, want relay", reply.Path)
	}

	streams := w.streams(a, b, perSecond)
	time.Sleep(time.Second)
	w.open(home, office)
	took := w.eventually(40*time.Second, "both have a direct path", func() bool {
		there, _ := a.peer(b)
		back, _ := b.peer(a)
		return there.Path == "direct" && back.Path == "direct"
	})
	t.Logf("direct %v after it was possible", took.Round(time.Millisecond))
	time.Sleep(8 * time.Second) // longer than any swap
	w.noneLost(streams)
	for n, other := range map[*node]*node{a: b, b: a} {
		p, _ := n.peer(other)
		if relay := vps.Host.IPv4()[0].String(); p.Path != "direct" || strings.HasPrefix(p.Endpoint, relay) {
			t.Errorf("%s is back on the relay: %s at %s", n.Host.Name, p.Path, p.Endpoint)
		}
	}
}

// shut keeps two routers from passing anything to each other.
func (w *world) shut(a, b *lab.Router) {
	w.t.Helper()
	for _, pair := range [][2]*lab.Router{{a, b}, {b, a}} {
		rules := fmt.Sprintf("table ip shut { chain forward { type filter hook forward priority -400; ip daddr %s drop; }; }", pair[1].Uplink.Address())
		result, err := pair[0].Run(w.within(10*time.Second), "nft", rules)
		w.must(err)
		if result.Code != 0 {
			w.t.Fatalf("shut %s: %s", pair[0].Name, result.Output)
		}
	}
}

// open undoes shut.
func (w *world) open(routers ...*lab.Router) {
	w.t.Helper()
	for _, r := range routers {
		result, err := r.Run(w.within(10*time.Second), "nft", "delete table ip shut")
		w.must(err)
		if result.Code != 0 {
			w.t.Fatalf("open %s: %s", r.Name, result.Output)
		}
	}
}

// streams are one each way, through the tunnel.
func (w *world) streams(a, b *node, perSecond int) []*lab.Stream {
	w.t.Helper()
	var all []*lab.Stream
	for _, ends := range [][2]*node{{a, b}, {b, a}} {
		s, err := lab.StartStream(ends[0].Host.Node, ends[0].overlay(), ends[1].Host.Node, ends[1].overlay(), perSecond)
		w.must(err)
		all = append(all, s)
	}
	return all
}

// overlay is the node's first address on the network.
func (n *node) overlay() netip.Addr {
	n.w.t.Helper()
	addr, err := netip.ParseAddr(n.status().Self.Addresses[0])
	n.w.must(err)
	return addr
}

func (w *world) noneLost(streams []*lab.Stream) {
	w.t.Helper()
	for i, s := range streams {
		sent, gaps, err := s.Stop()
		w.must(err)
		w.t.Logf("stream %d: %d sent, %d lost", i, sent, lab.Lost(gaps))
		if len(gaps) > 0 {
			w.t.Errorf("stream %d: lost %v", i, gaps)
		}
	}
}

// underTwoRelays are two nodes that nothing but a relay joins, and two relays that are both ready to.
func underTwoRelays(t *testing.T) (w *world, a, b *node, relays []*member.Relay) {
	t.Helper()
	w = newWorld(t, "embedded")
	a = w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b = w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	relays = []*member.Relay{w.relay(w.Host("vps1"), "--no-dht"), w.relay(w.Host("vps2"), "--no-dht")}
	w.build()
	w.flags = onlyRelay
	for _, r := range relays {
		w.startRelay(r)
		w.flags = append(w.flags, "--relay", r.Address())
	}
	a.up()
	b.up()
	b.reach(a, 5*time.Second)
	w.eventually(10*time.Second, "both relays are ready", func() bool {
		ready := 0
		for _, r := range a.status().Relays {
			if r.Home && r.Pairs == 1 {
				ready++
			}
		}
		return ready == 2
	})
	return w, a, b, relays
}

// A relay that dies under traffic is replaced by the second one within 2 s.
func TestRelayKilledUnderTraffic(t *testing.T) {
	soon(t, 2*time.Second, "the longer outage", func() time.Duration { return outageByKilledRelay(t) })
}

func outageByKilledRelay(t *testing.T) (longest time.Duration) {
	w, a, b, relays := underTwoRelays(t)
	streams := w.streams(a, b, 200)
	time.Sleep(3 * time.Second) // relayed paths are measured once a second
	there, _ := a.peer(b)
	killed := streams[0].Elapsed()
	for _, r := range relays {
		if strings.HasPrefix(there.Endpoint, r.Host.IPv4()[0].String()+":") {
			r.Daemon().Kill()
		}
	}
	time.Sleep(4 * time.Second)
	for i, s := range streams {
		sent, gaps, err := s.Stop()
		w.must(err)
		if len(gaps) == 0 {
			t.Errorf("stream %d: nothing was lost: was it the right relay? endpoint %s", i, there.Endpoint)
			continue
		}
		last := gaps[len(gaps)-1]
		outage := last.Until - killed
		t.Logf("stream %d: %d sent, %d lost, the last %v after the relay's end", i, sent, lab.Lost(gaps), outage.Round(time.Millisecond))
		longest = max(longest, outage)
	}
	w.end()
	return longest
}

// A relay that is stopped as a service manager does lets its nodes move away first: nothing is lost. Started again, it
// is used again.
func TestRelayStopped(t *testing.T) {
	w, a, b, relays := underTwoRelays(t)
	streams := w.streams(a, b, 200)
	time.Sleep(2 * time.Second)
	there, _ := a.peer(b)
	var stopped *member.Relay
	for _, r := range relays {
		if strings.HasPrefix(there.Endpoint, r.Host.IPv4()[0].String()+":") {
			stopped = r
			w.must(r.Daemon().Signal(syscall.SIGTERM))
		}
	}
	if stopped == nil {
		t.Fatalf("endpoint %s is no relay's", there.Endpoint)
	}
	code, err := stopped.Daemon().Wait(w.within(20 * time.Second))
	w.must(err)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	time.Sleep(2 * time.Second)
	w.noneLost(streams)
	w.must(stopped.Start(w.within(10 * time.Second)))
	w.eventually(90*time.Second, "the relay is used again", func() bool {
		up := 0
		for _, r := range a.status().Relays {
			if r.State == "up" {
				up++
			}
		}
		return up == 2
	})
}

// Stock STUN clients get what they ask for, the discovery of NAT behaviour (RFC 5780) among it.
func TestRelayIsSTUNServer(t *testing.T) {
	w := newWorld(t, "embedded")
	inside := w.NAT("home", lab.PortRestricted.HidePort()).Host("inside")
	outside := w.Host("outside")
	vps := w.Host("vps")
	vps.Addresses = 2
	relay := w.relay(vps, "--no-dht")
	w.build()
	w.startRelay(relay)
	server := vps.IPv4()[0].String()
	for _, c := range []struct {
		host *lab.Host
		args []string
		want []string
	}{
		{outside, []string{"turnutils_stunclient", "-p", "3478", server}, []string{"UDP reflexive addr: " + outside.IPv4()[0].String(), "response 3"}},
		{inside, []string{"turnutils_natdiscovery", "-m", "-f", "-p", "3478", server}, []string{"NAT with Endpoint Independent Mapping", "NAT with Address and Port Dependent Filtering"}},
	} {
		out := w.output(c.host, c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in:\n%s", strings.Join(c.args, " "), want, out)
			}
		}
	}
}

// A member anywhere learns of all others through one contact, and they of it, within a second.
func TestThirdThroughOneContact(t *testing.T) {
	w := newWorld(t, "embedded")
	hub := w.join(w.Host("hub"))
	var others []*node
	for i := range 6 {
		others = append(others, w.join(w.NAT(fmt.Sprintf("nat%d", i), lab.PortRestricted.HidePort()).Host(fmt.Sprintf("node%d", i))))
	}
	var newcomers []*node
	for i := range tries {
		newcomers = append(newcomers, w.join(w.NAT(fmt.Sprintf("newnat%d", i), lab.PortRestricted.HidePort()).Host(fmt.Sprintf("new%d", i))))
	}
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan"}
	port := hub.up("--port", "20100").Port
	contact := netip.AddrPortFrom(hub.Host.IPv4()[0], port).String()
	for _, n := range others {
		n.up("--bootstrap", contact)
	}
	knows := func(n *node, count int) bool {
		known := 0
		for _, p := range n.status().Peers {
			if p.LastHandshake != nil {
				known++
			}
		}
		return known == count
	}
	for _, n := range others {
		w.eventually(20*time.Second, n.Host.Name+" knows the others", func() bool { return knows(n, len(others)) })
	}
	known := len(others) + 1
	soon(t, time.Second, "connected to all", func() time.Duration {
		last := newcomers[known-len(others)-1]
		last.up("--bootstrap", contact)
		took := w.eventually(patience, "the newcomer is connected to all", func() bool { return knows(last, known) })
		known++
		return took
	})
}
