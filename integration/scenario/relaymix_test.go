package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// A node that has only IPv6 and one that has only IPv4 meet through a relay that has both, each told one address of it
// and no key.
func TestRelayJoinsFamilies(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.Symmetric)
	home.IPv6 = true
	a := w.join(home.Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	vps := w.relay(w.Host("vps"), "--no-dht")
	w.build()
	w.startRelay(vps)
	w.output(a.Host, "ip", "-4", "route", "del", "default")
	w.flags = onlyRelay

	a.up("--relay", netip.AddrPortFrom(vps.Host.IPv6()[0], member.RelayPort).String())
	b.up("--relay", netip.AddrPortFrom(vps.Host.IPv4()[0], member.RelayPort).String())
	reply, took := b.reach(a, 5*time.Second)
	t.Logf("first ping after %v", took.Round(time.Millisecond))
	if reply.Path != "relay" {
		t.Errorf("path %s, want relay", reply.Path)
	}
	there, _ := a.peer(b)
	back, _ := b.peer(a)
	if !strings.HasPrefix(there.Endpoint, "[") || strings.HasPrefix(back.Endpoint, "[") {
		t.Errorf("endpoints %s and %s, want one of each family", there.Endpoint, back.Endpoint)
	}
	streams := w.streams(a, b, 100)
	time.Sleep(3 * time.Second)
	w.noneLost(streams)
	for _, n := range []*node{a, b} {
		if relays := n.status().Relays; len(relays) != 1 || relays[0].Key == "" || !relays[0].Home || relays[0].LastError != "" {
			t.Errorf("%s: relays %+v", n.Host.Name, relays)
		}
	}
}

// A relay that serves other networks only, or has another key than the one given, is said to in status, with what to
// do, and does not stand in the way of one that works.
func TestRelayThatDoesNotServe(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	const another = "fvyrmqvxe2yeialcpsu7xlbs6xefgd5rsa6mjwycewdrpeq2jcaq"
	other := w.relay(w.Host("vps1"), "--no-dht", "--allow", another)
	good, anew := w.relay(w.Host("vps2"), "--no-dht"), w.relay(w.Host("vps3"), "--no-dht")
	w.build()
	for _, r := range []*member.Relay{other, good, anew} {
		w.startRelay(r)
	}
	_, key, _ := strings.Cut(good.Address(), "#")
	where, _, _ := strings.Cut(anew.Address(), "#")
	w.flags = append(onlyRelay, "--relay", other.Address(), "--relay", where+"#"+key)
	id := a.up().NetworkID
	b.up()
	says := func(relay *member.Relay, words ...string) {
		t.Helper()
		addr := netip.AddrPortFrom(relay.Host.IPv4()[0], member.RelayPort).String()
		var last []localapi.Relay
		w.eventually(10*time.Second, fmt.Sprintf("status says %q of %s", words, relay.Host.Name), func() bool {
			last = a.status().Relays
			for _, r := range last {
				all := r.Address == addr
				for _, word := range words {
					all = all && strings.Contains(r.LastError, word)
				}
				if all {
					return true
				}
			}
			return false
		})
		t.Logf("%s: %+v", relay.Host.Name, last)
	}
	says(other, "--allow "+id)
	says(anew, "another key")

	a.down()
	b.down()
	w.flags = append(onlyRelay, "--relay", other.Address(), "--relay", good.Address())
	a.up()
	b.up()
	reply, took := b.reach(a, 5*time.Second)
	t.Logf("first ping after %v", took.Round(time.Millisecond))
	if reply.Path != "relay" {
		t.Errorf("path %s, want relay", reply.Path)
	}
}

// A relay may run on the host of a member, which it relays for as well.
func TestRelayOnMembersHost(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.Symmetric)
	a := w.join(home.Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	hub := w.join(w.Host("hub"))
	vps := w.relay(hub.Host, "--no-dht")
	w.build()
	w.startRelay(vps)
	const port = "23456"
	rules := fmt.Sprintf("table ip shut { chain forward { type filter hook forward priority -400; ip daddr %[1]s udp dport %[2]s drop; ip saddr %[1]s udp sport %[2]s drop; }; }", hub.Host.IPv4()[0], port)
	if result, err := home.Run(w.within(10*time.Second), "nft", rules); err != nil || result.Code != 0 {
		t.Fatalf("shut: %v %s", err, result.Output)
	}
	w.flags = append(onlyRelay, "--relay", vps.Address())
	hub.up("--port", port)
	a.up()
	b.up()
	for _, c := range []struct {
		from, to *node
		path     string
	}{{a, b, "relay"}, {b, hub, "direct"}, {a, hub, "relay"}, {hub, a, "relay"}} {
		took := w.eventually(patience, fmt.Sprintf("%s to %s: path %s", c.from.Host.Name, c.to.Host.Name, c.path), func() bool {
			reply, _ := c.from.reach(c.to, patience)
			return reply.Path == c.path // the relay's may come first
		})
		t.Logf("%s to %s: %s after %v", c.from.Host.Name, c.to.Host.Name, c.path, took.Round(time.Millisecond))
	}
	streams := w.streams(a, hub, 100)
	time.Sleep(3 * time.Second)
	w.noneLost(streams)
}
