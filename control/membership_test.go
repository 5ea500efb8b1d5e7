package control

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// village is some hosts that are all connected.
func village(t *testing.T, seed uint64, names []string, options ...hostOption) (*world, []*simHost) {
	t.Helper()
	w := newWorld(t, seed)
	var all []*simHost
	for i, name := range names {
		h := w.host(name, fmt.Sprintf("5.%d.%d.%d:2000%d", i+1, i+1, i+1, i+1), nil, options...)
		if i > 0 {
			h.hint(all[0].inner)
		}
		all = append(all, h)
	}
	if _, ok := w.run(time.Minute, func() bool { return allConnected(all) }); !ok {
		t.Fatalf("seed %d: not connected after a minute", seed)
	}
	return w, all
}

func (h *simHost) knowsOf(o *simHost) *peer { return h.mesh.peers[o.mesh.self.public] }

// leave is what the daemon does, and ends the host.
func (h *simHost) leave() {
	for _, pause := range append([]time.Duration{0}, goodbyes...) {
		h.w.after(pause, func() {
			h.mesh.depart(h.w.now, h.wallTime())
			h.step()
		})
	}
	h.w.after(time.Second, func() { h.off = true })
}

// Whoever leaves is nobody's peer at once, frees its names and addresses, and is
// not revived by those who were away meanwhile. It may come back.
func TestLeave(t *testing.T) {
	for seed := range uint64(5) {
		w, all := village(t, seed, []string{"gone-away", "b", "c", "asleep"})
		w.loss = float64(seed%3) * 0.2
		gone, asleep := all[0], all[3]
		asleep.off = true
		w.run(10*time.Minute, nil)
		gone.leave()
		rest := all[1:3]
		took, ok := w.run(30*time.Second, func() bool {
			return !slices.ContainsFunc(rest, func(h *simHost) bool { return h.knowsOf(gone) != nil })
		})
		if !ok || w.loss == 0 && took > time.Second {
			t.Errorf("seed %d: the others know of it: %v after %v", seed, ok, took)
		}
		w.run(time.Second, nil)
		for _, h := range rest {
			if h.device.peers[gone.device.public] != nil {
				t.Errorf("seed %d: %s has it in the device", seed, h.name)
			}
			if _, _, err := h.mesh.find("gone-away"); err == nil {
				t.Errorf("seed %d: %s still finds it", seed, h.name)
			}
			if id, ok := h.mesh.names.Find("gone-away"); ok {
				t.Errorf("seed %d: for %s the name means %s", seed, h.name, id)
			}
		}
		w.loss = 0
		asleep.off = false
		asleep.step()
		for range 30 {
			asleep.hint(all[1].inner)
			w.run(10*time.Second, nil)
		}
		for _, h := range all[1:] {
			if h.knowsOf(gone) != nil {
				t.Errorf("seed %d: %s knows it again", seed, h.name)
			}
		}
		gone.off = false
		gone.boot()
		gone.hint(all[1].inner)
		if _, ok := w.run(30*time.Second, func() bool { return allConnected(all) }); !ok {
			t.Errorf("seed %d: it cannot come back", seed)
		}
	}
}

// A forged or old departure changes nothing, and neither does one's own record
// after it.
func TestDepartureIsFinal(t *testing.T) {
	w, all := village(t, 1, []string{"a", "b"})
	a, b := all[0], all[1]
	old := b.mesh.publisher.signed
	b.mesh.depart(w.now, b.wallTime())
	last := b.mesh.publisher.sequence
	b.mesh.publisher.dirty = true
	w.run(time.Minute, nil)
	if b.mesh.publisher.sequence != last {
		t.Error("something was published after the departure")
	}
	if steps := b.steps; steps > 100_000 {
		t.Errorf("%d steps: it does not rest", steps)
	}
	r, err := old.Verify(a.mesh.prefix6)
	if err != nil {
		t.Fatal(err)
	}
	a.mesh.learn(w.now, a.wallTime(), r, old, 0, r.Node)
	if a.knowsOf(b) != nil {
		t.Error("an older record made it a peer again")
	}
}

// An ephemeral node is nowhere an hour after it vanished, and stays for as long
// as it is there.
func TestEphemeral(t *testing.T) {
	w, all := village(t, 3, []string{"a", "b", "c"}, func(c *meshConfig, h *simHost) { c.ephemeral = h.name == "c" })
	a, b, c := all[0], all[1], all[2]
	w.run(5*time.Hour, nil)
	if !connected(a, c) || !connected(b, c) {
		t.Fatal("it is not there after five hours")
	}
	if life := a.knowsOf(c).record.Lifetime; life != time.Hour {
		t.Errorf("its record lives for %v", life)
	}
	c.off = true
	w.run(time.Hour+time.Minute, nil)
	for _, h := range []*simHost{a, b} {
		if _, known := h.mesh.book.Get(c.mesh.self.public); known || h.knowsOf(c) != nil {
			t.Errorf("%s still knows it", h.name)
		}
		if h.knowsOf(b) == nil && h != b {
			t.Errorf("%s has forgotten another one too", h.name)
		}
	}
}

// A name is changed for everybody at once; extra names travel with it.
func TestRename(t *testing.T) {
	w, all := village(t, 4, []string{"a", "old-name", "c"})
	a, b, c := all[0], all[1], all[2]
	b.mesh.rename("nas", []string{"git", "nas"})
	b.step()
	_, ok := w.run(30*time.Second, func() bool {
		_, _, err := a.mesh.find("nas")
		_, _, err2 := c.mesh.find("git")
		return err == nil && err2 == nil
	})
	if !ok {
		t.Fatal("the others do not find it by its new names")
	}
	if got := a.knowsOf(b).record; got.Name != "nas" || !slices.Equal(got.Aliases, []string{"git"}) {
		t.Errorf("its record says %q, %q", got.Name, got.Aliases)
	}
	if _, _, err := a.mesh.find("old-name"); err == nil {
		t.Error("it is still found by its old name")
	}
	if note := c.mesh.askedBy("git"); !strings.Contains(note, string(b.mesh.self.public.ID())) {
		t.Errorf("to ask for its name too is worth %q", note)
	}
}

// Who is to be forgotten is asked: one that was taken down a moment ago is known to be
// gone in seconds, and one that is there is not taken for gone.
func TestForgetAsks(t *testing.T) {
	for seed := range uint64(10) {
		w, all := village(t, seed, []string{"a", "b", "goes"})
		a, b, goes := all[0], all[1], all[2]
		w.run(10*time.Minute, nil)
		w.loss = float64(seed%3) * 0.02
		ask := func(of *simHost) (took time.Duration, err error) {
			began, decided := w.now, false
			for !decided {
				decided, err = a.mesh.isGone(w.now, a.knowsOf(of), began)
				a.step()
				w.run(goneYet, nil)
			}
			return w.now.Sub(began), err
		}
		if took, err := ask(b); err == nil || !strings.Contains(err.Error(), "is here") || took > 5*time.Second {
			t.Errorf("seed %d: one that is there: %v after %v", seed, err, took)
		}
		goes.off = true
		if took, err := ask(goes); err != nil || took > 5*time.Second {
			t.Errorf("seed %d: one that has gone: %v after %v", seed, err, took)
		}
	}
}

// Who is forgotten is not brought back by those who remember it, nor does that
// keep the gossip busy; it comes back when it is there again.
func TestForget(t *testing.T) {
	w, all := village(t, 5, []string{"a", "b", "gone"})
	a, b, gone := all[0], all[1], all[2]
	gone.off = true
	w.run(10*time.Minute, nil)
	a.mesh.forgetUntilNewer(w.now, a.knowsOf(gone))
	a.step()
	w.run(10*time.Minute, nil) // the news of that are told
	before := w.sent
	w.run(time.Hour, nil)
	if perMinute := (w.sent - before) / 60; perMinute > 20 {
		t.Errorf("%d datagrams a minute", perMinute)
	}
	if a.knowsOf(gone) != nil || b.knowsOf(gone) == nil {
		t.Errorf("known to who forgot it: %v, to the other: %v", a.knowsOf(gone) != nil, b.knowsOf(gone) != nil)
	}
	gone.off = false
	gone.boot()
	gone.hint(b.inner)
	if _, ok := w.run(30*time.Second, func() bool { return allConnected(all) }); !ok {
		t.Error("it cannot come back")
	}
	if len(a.mesh.forgotten) != 0 {
		t.Error("it is still to be forgotten")
	}
}

// What was forgotten stays so over a restart.
func TestForgottenIsKept(t *testing.T) {
	w, all := village(t, 6, []string{"a", "b", "gone"})
	a, b, gone := all[0], all[1], all[2]
	gone.off = true
	w.run(10*time.Minute, nil)
	seq := a.knowsOf(gone).record.Seq
	a.boot(func(c *meshConfig, _ *simHost) { c.forgotten = []forgotten{{gone.mesh.self.public, seq}} })
	a.hint(b.inner)
	w.run(5*time.Minute, nil)
	if !connected(a, b) || a.knowsOf(gone) != nil {
		t.Errorf("connected %v, knows the forgotten one %v", connected(a, b), a.knowsOf(gone) != nil)
	}
}

// Only what is ours is deleted, wherever the folder is.
func TestDeleteState(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(filepath.Join(home, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"network.key", "node.key", "node.key.of-another-machine-17", "memory.json", ".cache.123", "cache", "log", "log.1", "own-names.json", "notes.json", "key"} {
		if err := os.WriteFile(filepath.Join(home, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := DeleteState(dir, "home"); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(home)
	if err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v, want key, mail, notes.json", left, err)
	}
	for _, name := range []string{"mail", "notes.json", "key"} {
		if err := os.Remove(filepath.Join(home, name)); err != nil {
			t.Error(err)
		}
	}
	if err := DeleteState(dir, "home"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("the empty folder is left")
	}
	if err := DeleteState(dir, "home"); err != nil {
		t.Errorf("nothing to delete: %v", err)
	}
	if err := DeleteState(dir, "../etc"); err == nil {
		t.Error("a path was taken for a network")
	}
}

// An id leads to its node, whoever else calls itself so.
func TestFindByID(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("a", "5.1.1.1:20001", nil)
	nas := h.stranger(1, nil)
	id := string(nas.node.ID())
	h.stranger(2, func(r *wire.Record) { r.Name = id })
	h.stranger(3, func(r *wire.Record) { r.Aliases = []string{id} })
	for range 2 { // before the names are given out, and after
		if p, _, err := h.mesh.find(id); err != nil || p != nas {
			t.Errorf("%s: %v, %v", id, p, err)
		}
		h.mesh.advance(w.now, h.wallTime())
	}
}

// What members ask for is looked at again and again while they come, and where
// they are many not for each of them.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("a", "5.1.1.1:20001", nil)
	const members = 2000
	reviews := 0
	for i := range members {
		h.stranger(i, nil)
		if e := h.mesh.advance(w.now, h.wallTime()); e.names {
			reviews++
		}
		w.now = w.now.Add(time.Millisecond)
	}
	if reviews > 2*looksAtOnce+10 {
		t.Errorf("%d reviews for %d members", reviews, members)
	}
	named := func() (n int) {
		for _, p := range h.mesh.peers {
			if _, ok := h.mesh.names.Of(string(p.node.ID())); ok {
				n++
			}
		}
		return n
	}
	for end := w.now; named() != members; h.mesh.advance(w.now, h.wallTime()) {
		if w.now = h.mesh.next(w.now); w.now.Sub(end) > 2*anotherLook {
			t.Fatalf("%d of %d have names two seconds after the last came", named(), members)
		}
	}
}

// A member that calls itself something else a thousand times a second, leaving and
// coming back between, keeps nobody busy; what it says at last is heard of once it
// is quiet.
func TestRestlessMember(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("alice", "5.1.1.1:20001", nil)
	node := keys.GenerateNode()
	private, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	r := wire.Record{
		Node: node.Public(), WireGuard: private.PublicKey(), Probe: keys.GenerateProbe().Public(),
		Seq: uint64(h.wallTime().UnixMilli()), Lifetime: recordLifetime, MaxVersion: wire.Version,
		Addresses: []wire.AddressClaim{{Addr: keys.Address6(h.mesh.prefix6, node.Public()), Settled: true}},
	}
	events, taken := 0, 0
	say := func() {
		r.Seq++
		signed, err := wire.Sign(r, node)
		if err != nil {
			t.Fatal(err)
		}
		h.mesh.learn(w.now, h.wallTime(), r, signed, 0, keys.NodePublic{})
		e := h.mesh.advance(w.now, h.wallTime())
		events += len(e.events)
		if known, ok := h.mesh.book.Get(r.Node); ok && known.Record.Seq == r.Seq {
			taken++
		}
	}
	const said, seconds = 4000, 4
	for i := range said {
		r.Name, r.Departed = []string{"alice", fmt.Sprintf("m%d", i)}[i%2], i%5 == 4
		say()
		w.now = w.now.Add(seconds * time.Second / said)
	}
	if taken > recordBurst+recordRate*(seconds+1) || events > 2*taken {
		t.Errorf("%d records taken, %d events", taken, events)
	}
	if len(h.mesh.renewals) > 1 {
		t.Errorf("%d members counted", len(h.mesh.renewals))
	}
	w.now = w.now.Add(time.Minute)
	r.Name, r.Departed = "quiet", false
	say()
	if id, ok := h.mesh.names.Find("quiet"); !ok || id != string(r.Node.ID()) || len(h.mesh.renewals) > 1 {
		t.Errorf("the name leads to %q; counted %d", id, len(h.mesh.renewals))
	}
}

// What is said of a node that calls itself like another is not said of that one.
func TestSaidOf(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("a", "5.1.1.1:20001", nil)
	nas := h.stranger(1, nil)
	h.mesh.advance(w.now, h.wallTime())
	thief := h.stranger(2, func(r *wire.Record) { r.Name = nas.record.Name })
	h.mesh.advance(w.now, h.wallTime())
	if name := nas.record.Name + "-" + string(thief.node.ID())[:4]; thief.name() != name || nas.name() != nas.record.Name {
		t.Errorf("they are %s and %s", nas.name(), thief.name())
	}
	if got := h.mesh.nameOf(thief.node); !strings.HasPrefix(got, nas.record.Name+"-") {
		t.Errorf("said of %s", got)
	}
}

// People copy names as programs show them.
func TestMeant(t *testing.T) {
	d := &daemon{config: Config{Network: "home"}}
	for word, want := range map[string]string{
		"nas": "nas", "NAS": "nas", "nas.home.internal": "nas", "Nas.HOME.internal.": "nas", "10.1.2.3": "10.1.2.3",
		"FD00::1": "fd00::1", "nas.office.internal": "nas.office.internal", "": "",
	} {
		if got := d.meant(word); got != want {
			t.Errorf("%q means %q, want %q", word, got, want)
		}
	}
}
