package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// relayed starts two members behind NATs through which there is no direct path, and returns once the relay carries
// them.
func (w *world) relayed(a, b *node) {
	w.t.Helper()
	a.up()
	b.up()
	if reply, _ := b.reach(a, 10*time.Second); reply.Path != "relay" {
		w.t.Fatalf("path %s, want relay", reply.Path)
	}
	a.reach(b, 5*time.Second)
}

// of makes the member one of another network.
func (n *node) of(network string) *node {
	n.Network = network
	return n
}

// settings writes a relay's file.
func (w *world) settings(path, text string) {
	w.t.Helper()
	w.must(os.WriteFile(path, []byte(text), 0o644))
}

// ended is what became of a stream.
type ended struct {
	sent int
	gaps []lab.Gap
}

// stop ends streams, all at once.
func (w *world) stop(streams []*lab.Stream) []ended {
	w.t.Helper()
	all, errs := make([]ended, len(streams)), make([]error, len(streams))
	var stopping sync.WaitGroup
	for i, s := range streams {
		stopping.Go(func() { all[i].sent, all[i].gaps, errs[i] = s.Stop() })
	}
	stopping.Wait()
	w.must(errors.Join(errs...))
	return all
}

// fewLost ends the streams and holds each to a share of losses.
func (w *world) fewLost(streams []*lab.Stream, most float64) {
	w.t.Helper()
	for i, s := range w.stop(streams) {
		lost := lab.Lost(s.gaps)
		w.t.Logf("stream %d: %d sent, %d lost", i, s.sent, lost)
		if float64(lost) > most*float64(s.sent) {
			w.t.Errorf("stream %d: lost %v", i, s.gaps)
		}
	}
}

// A host that makes up networks gets what one source may have, and is told which limit it is at. Others do not notice.
func TestRelayQuotas(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	mallory := w.Host("mallory")
	file := filepath.Join(t.TempDir(), "relay.toml")
	w.settings(file, `
[stranger]
network-registrations = 6
source-registrations = 40
network-allocations = 4
source-allocations = 24
`)
	vps := w.relay(w.Host("vps"), "--no-dht", "--metrics", metricsAt, "--config", file)
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	a.storeKey()
	b.storeKey()

	var guests []*guest
	for range 12 {
		network, nodes := w.network(), make([]keys.NodePrivate, 8)
		var all []keys.NodePublic
		for i := range nodes {
			nodes[i] = keys.GenerateNode()
			all = append(all, nodes[i].Public())
		}
		for _, n := range nodes {
			guests = append(guests, w.guest(mallory, vps, network, n, all...))
		}
	}
	refused := func() (registered int, words map[string]int) {
		words = map[string]int{}
		for _, g := range guests {
			s := g.status()
			words[s.LastError]++
			if s.Registered {
				registered++
			}
		}
		return registered, words
	}
	named := func(words map[string]int, what string) bool {
		for word := range words {
			if strings.HasPrefix(word, what) && strings.Contains(word, "quota") {
				return true
			}
		}
		return false
	}
	w.t.Cleanup(func() {
		if t.Failed() {
			registered, words := refused()
			t.Logf("%d of %d guests are registered; %v; %s", registered, len(guests), words, about(w.metrics(vps)))
		}
	})
	w.eventually(10*time.Second, "the quotas are reached and named", func() bool {
		_, words := refused()
		return named(words, "register") && named(words, "allocate")
	})

	a.up()
	b.up()
	soon(t, time.Second, "others' first ping after the second is up", func() time.Duration {
		reply, took := b.reach(a, patience)
		if reply.Path != "relay" {
			t.Errorf("path %s, want relay", reply.Path)
		}
		if took > scaled(time.Second) { // for another try
			b.down()
			b.up()
		}
		return took
	})
	registered, words := refused()
	m := w.metrics(vps)
	t.Logf("%d of %d guests are registered; %v; %s", registered, len(guests), words, about(m))
	if n := m["registrations"]; n > 40+2 || registered == 0 {
		t.Errorf("%v registrations", n)
	}
	if n := m["allocations"]; n > 24+1 || n < 10 {
		t.Errorf("%v allocations", n)
	}
}

// A network that wants more than its share of bytes loses its own packets and nobody else's.
func TestRelayByteQuota(t *testing.T) {
	w := newWorld(t, "embedded")
	greedy := []*node{w.join(w.NAT("nat1", lab.Symmetric).Host("greedy1")).of("greedy"), w.join(w.NAT("nat2", lab.Symmetric).Host("greedy2")).of("greedy")}
	modest := []*node{w.join(w.NAT("nat3", lab.Symmetric).Host("modest1")), w.join(w.NAT("nat4", lab.Symmetric).Host("modest2"))}
	file := filepath.Join(t.TempDir(), "relay.toml")
	// The modest pair sends 400 packets of 160 bytes a second, half of it.
	w.settings(file, "[stranger]\nnetwork-rate = \"1 Mbit/s\"\n")
	vps := w.relay(w.Host("vps"), "--no-dht", "--config", file)
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	w.relayed(greedy[0], greedy[1])
	w.relayed(modest[0], modest[1])

	streams := w.streams(modest[0], modest[1], 200)
	flood := w.streams(greedy[0], greedy[1], 2000)
	time.Sleep(4 * time.Second)
	sent, arrived := 0, 0
	lasted := flood[0].Elapsed().Seconds()
	for _, s := range w.stop(flood) {
		sent, arrived = sent+s.sent, arrived+s.sent-lab.Lost(s.gaps)
	}
	const bits = 160 * 8 // of a packet, as the relay counts
	rate := float64(arrived) * bits / lasted
	t.Logf("of %d packets %d were relayed, %.2f Mbit/s", sent, arrived, rate/1e6)
	if arrived == 0 || rate > 2e6 {
		t.Errorf("%.2f Mbit/s were relayed, want 1 and the first second's burst", rate/1e6)
	}
	if float64(sent)*bits/lasted < 2e6 {
		t.Errorf("only %d packets were sent: the quota was not tried", sent)
	}
	w.fewLost(streams, 0.01)
}

// Who is not allowed is told so in status, with what to do about it. A network that is taken out of the file loses its
// service at the next SIGHUP, and those that stay do not lose a packet.
func TestRelayAllow(t *testing.T) {
	soon(t, time.Second, "a network that is not served went on", func() time.Duration { return servedOn(t) })
}

func servedOn(t *testing.T) (longest time.Duration) {
	w := newWorld(t, "embedded")
	stays := []*node{w.join(w.NAT("nat1", lab.Symmetric).Host("stays1")), w.join(w.NAT("nat2", lab.Symmetric).Host("stays2"))}
	goes := []*node{w.join(w.NAT("nat3", lab.Symmetric).Host("goes1")).of("goes"), w.join(w.NAT("nat4", lab.Symmetric).Host("goes2")).of("goes")}
	stranger := w.join(w.Host("stranger")).of("stranger")
	ids := map[string]string{}
	for _, name := range []string{networkName, "goes"} {
		key, err := keys.DeriveNetworkKey([]byte(member.Passphrase), name)
		w.must(err)
		ids[name] = key.ID().String()
	}
	file := filepath.Join(t.TempDir(), "relay.toml")
	w.settings(file, fmt.Sprintf("allow = [%q, %q]\n", ids[networkName], ids["goes"]))
	vps := w.relay(w.Host("vps"), "--no-dht", "--config", file)
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	w.relayed(stays[0], stays[1])
	w.relayed(goes[0], goes[1])
	id := stranger.up().NetworkID
	toldWhy := func(n *node, id string) func() bool {
		return func() bool {
			relays := n.status().Relays
			return len(relays) == 1 && strings.Contains(relays[0].LastError, "--allow "+id)
		}
	}
	took := w.eventually(5*time.Second, "status says why a stranger is not served", toldWhy(stranger, id))
	t.Logf("told after %v", took.Round(time.Millisecond))

	streams, lost := w.streams(stays[0], stays[1], 200), w.streams(goes[0], goes[1], 200)
	time.Sleep(time.Second)
	w.settings(file, fmt.Sprintf("allow = [%q]\n", ids[networkName]))
	w.must(vps.Daemon().Signal(syscall.SIGHUP))
	w.must(vps.Daemon().WaitOutput(w.within(5*time.Second), "settings reread"))
	reread := lost[0].Elapsed()
	for _, n := range goes {
		took := w.eventually(20*time.Second, "status says why a network is not served any more", toldWhy(n, ids["goes"]))
		t.Logf("told after %v", took.Round(time.Millisecond))
	}
	time.Sleep(time.Second)
	for i, s := range w.stop(lost) {
		if len(s.gaps) == 0 || s.gaps[len(s.gaps)-1].Last != s.sent-1 {
			t.Errorf("stream %d of a network that is not served: %d sent, lost %v", i, s.sent, s.gaps)
			continue
		}
		longest = max(longest, s.gaps[len(s.gaps)-1].At-reread)
	}
	w.fewLost(streams, 0)
	stays[0].reach(stays[1], time.Second)
	// It is told as long as it is so, in words for people.
	said := strings.Join(strings.Fields(w.output(stranger.Host, binary, "status", "--network", stranger.Network)), " ")
	if !strings.Contains(said, "relay does not serve this network: start it with --allow") {
		t.Errorf("status says nothing of a relay that does not serve: %s", said)
	}
	w.end()
	return longest
}

// The only relay is killed and comes back under traffic, at once or after the nodes have taken it for dead: what it had
// forgotten is made anew within 3 s.
func TestRelayRestartedUnderTraffic(t *testing.T) {
	soon(t, 3*time.Second, "the longest outage after the relay was back", func() time.Duration { return outageByRestart(t) })
}

func outageByRestart(t *testing.T) (longest time.Duration) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	vps := w.relay(w.Host("vps"), "--no-dht")
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	w.relayed(a, b)
	streams := w.streams(a, b, 200)
	time.Sleep(time.Second)
	var backs []time.Duration // from the streams' start
	for _, gone := range []time.Duration{0, 6 * time.Second} {
		vps.Daemon().Kill()
		time.Sleep(gone)
		w.startRelay(vps)
		backs = append(backs, streams[0].Elapsed())
		time.Sleep(scaled(3500 * time.Millisecond)) // and it is to be back in three
	}
	for i, s := range w.stop(streams) {
		sent, gaps := s.sent, s.gaps
		t.Logf("stream %d: %d sent, lost %v; the relay was back at %v", i, sent, gaps, backs)
		if len(gaps) < len(backs) {
			t.Errorf("stream %d: did the relay carry it?", i)
		}
		for _, g := range gaps {
			for _, back := range backs {
				if g.At < back {
					longest = max(longest, g.Until-back)
				}
			}
		}
		if n := len(gaps); n > 0 && gaps[n-1].Last == sent-1 {
			longest = max(longest, time.Hour) // nothing arrives any more
		}
	}
	w.end()
	return longest
}
