package scenario

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// hostState is all of a host's network settings that a daemon could leave something in.
func (w *world) hostState(h *lab.Host) string {
	w.t.Helper()
	var b strings.Builder
	for _, command := range []string{
		"ip -o link show", "ip -o address show", "ip -4 route show table all", "ip -6 route show table all",
		"ip -4 rule show", "ip -6 rule show", "nft list ruleset",
		"find /run/credant /run/wireguard /dev/shm -newer /etc/machine-id",
		"cat /etc/hosts /etc/resolv.conf",
	} {
		result, err := h.Run(w.within(10*time.Second), strings.Fields(command)...)
		w.must(err)
		fmt.Fprintf(&b, "# %s\n", command)
		for line := range strings.Lines(result.Stdout) {
			// Folders may stay; what ages or counts is no setting.
			if line == "/run/credant\n" || line == "/run/wireguard\n" || strings.Contains(line, " proto kernel_ra ") {
				continue
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// settled is hostState of a host that has nothing of ours yet. What the kernel does last, when it has seen that a cable is
// plugged in at both ends, is a route to the link-local address.
func (w *world) settled(h *lab.Host) string {
	w.t.Helper()
	w.eventually(patience, h.Name+" has a link-local address", func() bool {
		return strings.Contains(w.output(h, "ip", "-6", "route", "show", "table", "local", "dev", "eth0"), "local fe80:")
	})
	w.hostState(h) // the first use of a tool may set something up
	return w.hostState(h)
}

// Ctrl-C of a daemon in the foreground leaves the host as it was, whenever it comes.
func TestInterruptAtAnyMoment(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	w.typed = true
	b.up()
	before := w.settled(a.Host)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	signals := []syscall.Signal{syscall.SIGTERM}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // as in the background of a script and under nohup, which programs inherit
			signals = append(signals, sig)
		}
	}
	for i := range 24 {
		// Denser where it is being set up: within the first half second.
		after := time.Duration(float64(1500*time.Millisecond) * random.Float64() * random.Float64())
		sig := signals[i%len(signals)]
		a.start()
		time.Sleep(after)
		w.must(a.Daemon().Signal(sig))
		if _, err := a.Daemon().Wait(w.within(5 * time.Second)); err != nil {
			t.Fatalf("%v after %v: %v", sig, after, err)
		}
		if got := w.hostState(a.Host); got != before {
			t.Fatalf("%v after %v left something behind: %s\noutput: %s", sig, after, difference(before, got), a.Daemon().Output())
		}
	}
}

func difference(before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			b.WriteString("+ " + line)
		}
	}
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			b.WriteString("- " + line)
		}
	}
	return b.String()
}

// up without --foreground returns when the interface is up and leaves a daemon, which down ends; the host is then as it
// was.
func TestUpInBackground(t *testing.T) {
	w, a, b := twoOnLAN(t, "embedded")
	before := w.settled(a.Host)
	w.typed = true
	b.up()
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	w.must(os.WriteFile(passphrase, []byte(member.Passphrase+"\n"), 0o600))
	result, err := a.Run(w.within(10*time.Second), "up", "--name", "alice", "--backend", "embedded",
		"--passphrase-file", passphrase, "--no-dht", "--no-stun")
	w.must(err)
	status := a.status()
	for _, said := range append(status.Self.Addresses, status.CheckWords...) {
		if !strings.Contains(result.Stdout, said) {
			t.Errorf("up did not say %s: %s", said, result.Output)
		}
	}
	if result.Code != 0 {
		t.Errorf("exit code %d", result.Code)
	}
	a.reach(b, 5*time.Second)
	w.clearedByDown(a, before)
	if result, err := a.Run(w.within(5*time.Second), "status", "--json"); err != nil || result.Code != 1 {
		t.Errorf("status after down: exit code %d, %v", result.Code, err)
	}
}

// After kill -9 the next up works at once, and so does down, which clears what is left.
func TestKillLeavesNothingThatMatters(t *testing.T) {
	w, a, b := twoOnLAN(t, "embedded")
	before := w.settled(a.Host)
	b.up()
	a.up()
	a.reach(b, 5*time.Second)
	a.Daemon().Kill()
	a.up()
	a.reach(b, 15*time.Second)
	a.Daemon().Kill()
	w.clearedByDown(a, before)

	// An upgrade (SIGUSR1) ends it too, and the next start makes the device anew.
	a.up()
	w.must(a.Stop(w.within(5*time.Second), syscall.SIGUSR1))
	a.up()
	a.reach(b, 5*time.Second)
}

// clearedByDown runs down and compares.
func (w *world) clearedByDown(n *node, before string) {
	w.t.Helper()
	result, err := n.Run(w.within(10*time.Second), "down")
	w.must(err)
	if result.Code != 0 {
		w.t.Errorf("down: exit code %d: %s", result.Code, result.Output)
	}
	if got := w.hostState(n.Host); got != before {
		w.t.Errorf("down left something behind: %s", difference(before, got))
	}
}

// Addresses and routes that somebody removes are back within a second.
func TestRemovedSettingsComeBack(t *testing.T)       { removedComeBack(t, "embedded") }
func TestKernelRemovedSettingsComeBack(t *testing.T) { removedComeBack(t, "kernel") }

func removedComeBack(t *testing.T, backend string) {
	w, a, b := twoOnLAN(t, backend)
	status := a.up()
	b.up()
	a.reach(b, 5*time.Second)
	for _, removal := range []string{
		"ip -4 address flush dev " + status.Interface,
		"ip -6 address flush dev " + status.Interface,
		"ip -4 route flush dev " + status.Interface,
		"ip link set down dev " + status.Interface,
		"nft flush ruleset",
	} {
		settings := func() string {
			return w.output(a.Host, "ip", "-o", "address", "show", "dev", status.Interface) +
				w.output(a.Host, "ip", "route", "show", "table", "all", "dev", status.Interface) +
				w.output(a.Host, "nft", "list", "ruleset")
		}
		before := settings()
		soon(t, time.Second, "back after "+removal, func() time.Duration {
			w.output(a.Host, strings.Fields(removal)...)
			return w.eventually(patience, "back after "+removal, func() bool {
				return len(strings.Fields(settings())) == len(strings.Fields(before))
			})
		})
		a.reach(b, patience)
	}
}
