package scenario

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/natpunch/demux"
)

// tunnelled builds two members with kernel WireGuard that have a path, the first one behind a NAT, and returns the overlay
// address of the second. They need no DHT for it, which takes more of the emulated CPU than all else here.
func tunnelled(t *testing.T) (w *world, a, b *node, overlay string) {
	w = newWorld(t, "kernel")
	a = w.join(w.NAT("home", lab.PortRestricted.HidePort()).Host("alice"))
	b = w.join(w.Host("bob"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan"}
	const port = "23456"
	b.Flags = []string{"--port", port}
	a.Flags = []string{"--bootstrap", net.JoinHostPort(b.Host.IPv4()[0].String(), port)}
	overlay = b.up().Self.Addresses[0]
	if p, err := netip.ParsePrefix(overlay); err == nil {
		overlay = p.Addr().String()
	}
	a.up()
	a.reach(b, 10*time.Second)
	return w, a, b, overlay
}

// flood pings count times, five a second, and returns how many answers came.
func (w *world) flood(from *lab.Host, to string, count int) (answered int) {
	w.t.Helper()
	result, err := from.Run(w.within(30*time.Second), "ping", "-n", "-q", "-i", "0.1", "-W", "2", "-c", strconv.Itoa(count), to)
	w.must(err)
	return received(w.t, result)
}

func received(t *testing.T, result lab.Result) int {
	t.Helper()
	for line := range strings.Lines(result.Stdout) {
		if _, rest, ok := strings.Cut(line, "packets transmitted, "); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no summary of ping: %s", result.Output)
	return 0
}

// No data packet passes through a CredAnt process: with both of them stopped every packet arrives.
func TestKernelDataPassesNoProcess(t *testing.T) {
	w, a, b, overlay := tunnelled(t)
	for _, n := range []*node{a, b} {
		w.must(n.Daemon().Signal(syscall.SIGSTOP))
	}
	if got := w.flood(a.Host, overlay, 100); got != 100 {
		t.Errorf("%d of 100 echoes were answered while the daemons were stopped", got)
	}
	for _, n := range []*node{a, b} {
		w.must(n.Daemon().Signal(syscall.SIGCONT))
	}
	a.reach(b, 5*time.Second)
}

// An upgrade (SIGUSR1) and a crash (kill -9) leave device and routes; the next up adopts them, and not one packet is
// lost on the way.
func TestKernelDetachAndAdopt(t *testing.T) {
	w, a, b, overlay := tunnelled(t)
	before := a.status()
	const count = 200
	type outcome struct {
		result lab.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(w.t.Context(), scaled(time.Minute))
		defer cancel()
		result, err := a.Host.Run(ctx, "ping", "-n", "-q", "-i", "0.1", "-W", "3", "-c", strconv.Itoa(count), overlay)
		done <- outcome{result, err}
	}()

	w.must(a.Stop(w.within(10*time.Second), syscall.SIGUSR1))
	a.up()
	a.reach(b, 5*time.Second)
	a.Daemon().Kill()
	a.up()
	a.reach(b, 5*time.Second)

	o := <-done
	w.must(o.err)
	if got := received(t, o.result); got != count {
		t.Errorf("%d of %d echoes were answered across a detach, a kill and two starts", got, count)
	}
	after := a.status()
	if after.Interface != before.Interface || after.Port != before.Port || after.Self.PublicKey != before.Self.PublicKey {
		t.Errorf("not adopted: %s port %d key %s before, %s port %d key %s after", before.Interface, before.Port, before.Self.PublicKey,
			after.Interface, after.Port, after.Self.PublicKey)
	}
}

// down, Ctrl-C, and down after a crash each leave the host as it was.
func TestKernelLeavesNothing(t *testing.T) {
	w, a, b := twoOnLAN(t, "kernel")
	w.hostState(a.Host)
	before := w.hostState(a.Host)
	b.up()
	unchanged := func(after string) {
		t.Helper()
		if got := w.hostState(a.Host); got != before {
			t.Errorf("%s left something behind: %s", after, difference(before, got))
		}
	}

	a.up()
	a.reach(b, 5*time.Second)
	a.down()
	unchanged("Ctrl-C")

	a.up()
	if result, err := a.Run(w.within(10*time.Second), "down"); err != nil || result.Code != 0 {
		t.Errorf("down: exit code %d, %v: %s", result.Code, err, result.Output)
	}
	_, err := a.Daemon().Wait(w.within(10 * time.Second))
	w.must(err)
	unchanged("down")

	a.up()
	a.reach(b, 5*time.Second)
	a.Daemon().Kill()
	w.clearedByDown(a, before)
}

// A firewall reload removes the side port's rules: WireGuard goes on, the rules are back, and sealed datagrams with them.
func TestKernelSidePortSurvivesFirewallReload(t *testing.T) {
	w, a, b, overlay := tunnelled(t)
	w.output(a.Host, "nft", "flush", "ruleset")
	if got := w.flood(a.Host, overlay, 5); got != 5 {
		t.Errorf("%d of 5 echoes right after the reload", got)
	}
	w.eventually(2*time.Second, "the rules are back", func() bool {
		return strings.Contains(w.output(a.Host, "nft", "list", "tables"), "credant")
	})
	capture, err := a.Host.Capture("eth0")
	w.must(err)
	b.down()
	b.up()
	a.reach(b, 20*time.Second)
	answered := false
	for _, p := range capture.Stop() {
		if p.Protocol == unix.IPPROTO_UDP && p.Outgoing && demux.Classify(p.Payload) == demux.CredAnt {
			answered = true
		}
	}
	if !answered {
		t.Error("no sealed datagram left after the reload")
	}
}

// A clock that is wrong by years stops nobody on the LAN, and status says that it looks wrong.
func TestKernelClockWrongByYears(t *testing.T) {
	if !inVM {
		t.Skip("the clock is only set in the VM: make test-kernel")
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w := newWorld(t, "kernel")
	home := w.NAT("home", lab.PortRestricted)
	a, b := w.join(home.Host("alice")), w.join(home.Host("bob"))
	w.build()
	w.flags = []string{"--no-stun"}
	b.up() // with the right time
	wrong := unix.NsecToTimespec(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC).UnixNano())
	w.must(unix.ClockSettime(unix.CLOCK_REALTIME, &wrong))
	defer func() {
		right := unix.NsecToTimespec(now.Nano() + int64(time.Since(began)))
		w.must(unix.ClockSettime(unix.CLOCK_REALTIME, &right))
	}()
	a.up()
	a.reach(b, 5*time.Second)
	b.reach(a, 5*time.Second)
	w.eventually(5*time.Second, "status says that the clock looks wrong", func() bool {
		return strings.Contains(strings.Join(a.status().Notices, "\n"), "clock")
	})
}
