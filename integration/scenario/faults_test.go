package scenario

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// A wrong passphrase on one side: the machines ignore each other on every way there is to meet, nothing of one shows up
// in the other's status, and both say what differs: the check words.
func TestWrongPassphrase(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted)
	a, b := w.join(home.Host("alice")), w.join(home.Host("bob"))
	w.typed = true
	b.Passphrase = "another-gallery-oxidize-blinks-perky-overhung"
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	capture, err := home.Capture("lan")
	w.must(err)

	const port = "23456"
	first := a.up("--port", port)
	bootstrap := a.Host.IPv4()[0].String() + ":" + port
	second := b.up("--bootstrap", bootstrap)
	if strings.Join(first.CheckWords, " ") == strings.Join(second.CheckWords, " ") {
		t.Error("the check words are the same")
	}
	if first.NetworkID == second.NetworkID {
		t.Error("the network ids are the same")
	}
	// Each has heard the other, and said so only in a counter.
	w.eventually(10*time.Second, "dropped datagrams are counted", func() bool {
		return len(a.status().Drops) > 0
	})
	for _, n := range []*node{a, b} {
		if peers := n.status().Peers; len(peers) != 0 {
			t.Errorf("%s lists %v", n.Host.Name, peers)
		}
	}
	secrets := [][]string{first.Self.Addresses, {first.Self.ID, first.Self.Name, first.Self.PublicKey, first.NetworkID}}
	for _, p := range capture.Stop() {
		for _, words := range secrets {
			for _, word := range words {
				if strings.Contains(string(p.Payload), word) {
					t.Errorf("a datagram on the wire shows %q: %v", word, p)
				}
			}
		}
	}
	if result, err := b.Run(w.within(10*time.Second), "ping", "alice", "-c", "1", "--json"); err != nil || result.Code != 1 {
		t.Errorf("ping of a stranger: exit code %d, %v", result.Code, err)
	}
}

// No DHT: status says so, the search goes on, and the LAN works meanwhile. When the DHT comes, it is used.
func TestNoDHT(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted)
	a, b := w.join(home.Host("alice")), w.join(home.Host("bob"))
	dht := w.addDHT()
	w.build()
	bootstrap := netip.AddrPortFrom(dht.IPv4()[0], lab.DHTPort)
	w.flags = []string{"--no-stun", "--dht-bootstrap", bootstrap.String()}
	a.up()
	b.up()
	b.reach(a, 5*time.Second)
	w.eventually(patience, "status says that there is no DHT", func() bool {
		source := a.status().Sources["dht"]
		return source.Nodes == 0 && source.State != "" && (source.Detail != "" || source.LastError != "")
	})
	_, err := dht.StartDHT(w.within(3 * patience))
	w.must(err)
	w.eventually(time.Minute, "the DHT is found when it comes", func() bool { return a.status().Sources["dht"].Nodes > 0 })
}

// Port taken: the next free one, and status says so.
func TestPortTaken(t *testing.T) {
	w, a, b := twoOnLAN(t, "embedded")
	taken, err := a.Host.ListenUDP(netip.MustParseAddrPort("0.0.0.0:23456"))
	w.must(err)
	defer taken.Close()
	status := a.up("--port", "23456")
	if status.Port <= 23456 || status.Port > 23456+100 {
		t.Errorf("port %d", status.Port)
	}
	if !strings.Contains(strings.Join(status.Notices, "\n"), "23456") {
		t.Errorf("nothing said of the port taken: %q", status.Notices)
	}
	b.up()
	b.reach(a, 5*time.Second)
}

// Unreadable state: an error that names the file, or, where a node can do without it, a notice that does; and keys are
// left as they were.
func TestCorruptState(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.Host("alice"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan"}
	w.typed = true
	a.up()
	a.down()

	// Whatever files there are: each one destroyed in turn must not cost the others, nor be replaced in silence.
	const dir = "/var/lib/credant/home"
	files := map[string][]byte{}
	read := func() {
		w.must(a.Host.Do(func() error {
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				if err == nil && e.Type().IsRegular() {
					files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
				}
			}
			return err
		}))
	}
	read()
	if len(files) == 0 {
		t.Fatalf("no state in %s", dir)
	}
	before := files
	convenient := map[string]bool{"memory.json": true, "names.json": true}
	for name, content := range before {
		if strings.Contains(name, "cache") || strings.Contains(name, "lock") || strings.HasSuffix(name, ".log") || len(content) == 0 {
			continue // what is learnt again
		}
		file := filepath.Join(dir, name)
		const garbage = "\x00 this is not what was here"
		w.must(a.Host.Do(func() error { return os.WriteFile(file, []byte(garbage), 0o600) }))
		a.start()
		spared := convenient[name]
		if spared {
			status, err := a.WaitUp(w.within(30 * time.Second))
			w.must(err)
			if notices := strings.Join(status.Notices, "\n"); !strings.Contains(notices, name) {
				t.Errorf("%s corrupt: notices %q", name, notices)
			}
			a.down()
		} else {
			code, err := a.Daemon().Wait(w.within(30 * time.Second))
			w.must(err)
			if code != 1 || !strings.Contains(a.Daemon().Output(), name) {
				t.Errorf("%s corrupt: exit code %d, output %s", name, code, a.Daemon().Output())
			}
		}
		files = map[string][]byte{}
		read()
		for other, was := range before {
			want := string(was)
			switch {
			case spared && !strings.HasSuffix(other, ".key"):
				continue // written by the daemon that ran
			case other == name:
				want = garbage
			}
			if got := string(files[other]); got != want {
				t.Errorf("%s corrupt: %s was changed", name, other)
			}
		}
		if spared {
			before = files // as that daemon left them
			continue
		}
		w.must(a.Host.Do(func() error { return os.WriteFile(file, content, 0o600) }))
	}
	a.up()
}

// A provider's new address: the machines find their way again by themselves.
func TestAddressChange(t *testing.T) {
	w := newWorld(t, "embedded")
	home, office := w.NAT("home", lab.PortRestricted.HidePort()), w.NAT("office", lab.PortRestricted.HidePort())
	a, b := w.join(home.Host("alice")), w.join(office.Host("bob"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun")
	a.up()
	b.up()
	b.reach(a, 10*time.Second)
	w.must(home.ChangeAddress())
	_, took := b.reach(a, time.Minute)
	t.Logf("an answer %v after the change", took.Round(time.Millisecond))
}
