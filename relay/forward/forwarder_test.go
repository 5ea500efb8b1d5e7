package forward

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/credant/credant/relay"
)

func TestForward(t *testing.T) {
	for name, sides := range map[string][2]netip.Addr{
		"IPv4":           {alice4, bob4},
		"IPv6":           {alice6, bob6},
		"mixed families": {alice4, bob6},
		"one address":    {alice4, alice4},
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			f := start(t, Config{})
			must(t, f.Open(port))
			a, b := listenAt(t, sides[0]), listenAt(t, sides[1])
			join(t, f, port, a.addr, b.addr)
			for i, size := range []int{32, 1280, 1424, 65_488} {
				for _, way := range [][2]*socket{{a, b}, {b, a}} {
					from, to := way[0], way[1]
					sent := data(i, size)
					from.send(own(from.addr.Addr(), port), sent)
					got, source := to.receive()
					if !bytes.Equal(got, sent) {
						t.Errorf("%d bytes arrived changed", size)
					}
					if want := own(to.addr.Addr(), port); source != want {
						t.Errorf("arrived from %v, want %v", source, want)
					}
				}
			}
		})
	}
}

func TestCounters(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob6)
	join(t, f, port, a.addr, b.addr)
	for i := range 3 {
		a.send(own(alice4, port), data(i, 96))
		b.receive()
	}
	b.send(own(bob6, port), data(0, 1424))
	a.receive()

	type count struct{ Packets, Bytes uint64 }
	collect := func() map[string]count {
		counts := make(map[string]count)
		f.Counters(func(k relay.FlowKey, packets, bytes uint64) {
			c := counts[k.Source.String()]
			counts[k.Source.String()] = count{c.Packets + packets, c.Bytes + bytes}
		})
		return counts
	}
	// A datagram is counted after it has been sent.
	waitFor(t, "four packets counted", func() bool { packets, _ := f.Totals(); return packets == 4 })
	want := map[string]count{a.addr.String(): {3, 288}, b.addr.String(): {1, 1424}}
	if diff := cmp.Diff(want, collect()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if again := collect(); len(again) != 0 {
		t.Errorf("counted again: %v", again)
	}
	if packets, bytes := f.Totals(); packets != 4 || bytes != 288+1424 {
		t.Errorf("totals %d, %d", packets, bytes)
	}
}

// A flow that leads elsewhere does so from the next datagram on; a removed one no
// longer leads anywhere.
func TestReplaceAndRemove(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	a, b, c := listenAt(t, alice4), listenAt(t, bob4), listenAt(t, bob6)
	at := own(alice4, port)
	join(t, f, port, a.addr, b.addr)
	a.send(at, data(1, 32))
	b.receive()
	join(t, f, port, a.addr, c.addr)
	a.send(at, data(2, 32))
	if got, _ := c.receive(); numberOf(got) != 2 {
		t.Errorf("datagram %d came", numberOf(got))
	}
	f.Remove(relay.FlowKey{At: at, Source: a.addr})
	a.send(at, data(3, 32))
	waitFor(t, "a drop", func() bool { return f.Drops()["no-flow"] == 1 })
}

func TestInstallRefuses(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	to4, to6 := netip.AddrPortFrom(bob4, 1), netip.AddrPortFrom(bob6, 1)
	flow := func(at, source, from, to netip.AddrPort) relay.Flow {
		return relay.Flow{FlowKey: relay.FlowKey{At: at, Source: source}, From: from, To: to}
	}
	source := netip.AddrPortFrom(alice4, 51820)
	for name, r := range map[string]relay.Flow{
		"port not open":         flow(own(alice4, port+1), source, own(bob4, port), to4),
		"from a port not open":  flow(own(alice4, port), source, own(bob4, port+1), to4),
		"no own address":        flow(netip.AddrPortFrom(alice4, port), source, own(bob4, port), to4),
		"other family to":       flow(own(alice4, port), source, own(bob4, port), to6),
		"other family source":   flow(own(alice6, port), source, own(bob4, port), to4),
		"mapped source":         flow(own(alice6, port), netip.MustParseAddrPort("[::ffff:10.0.0.2]:1"), own(bob4, port), to4),
		"mapped destination":    flow(own(alice4, port), source, own(bob6, port), netip.AddrPort{}),
		"destination of port 0": flow(own(alice4, port), source, own(bob4, port), netip.AddrPortFrom(bob4, 0)),
	} {
		if err := f.Install(r); err == nil {
			t.Errorf("%s: installed", name)
		}
	}
}

// What one side sends beyond its buckets is dropped; of a train, its end.
func TestBuckets(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	const size, atOnce = 1424, 128 << 10 // what any bucket lets through at once
	join(t, f, port, a.addr, b.addr, relay.NewBucket(0), relay.NewBucket(1))
	var sent int
	for range 4 {
		var train []byte
		for range 32 {
			train = append(train, data(sent, size)...)
			sent++
		}
		a.sendTrain(own(alice4, port), train, size)
	}
	const pass = atOnce / size
	for i := range pass {
		if got, _ := b.receive(); numberOf(got) != i {
			t.Fatalf("datagram %d came in place of %d", numberOf(got), i)
		}
	}
	waitFor(t, "the rest dropped", func() bool { return f.Drops()["bucket"] == uint64(sent-pass) })
}

// A destination that the kernel refuses does not stop what goes elsewhere.
func TestSendErrors(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Workers: 1})
	must(t, f.Open(port))
	a, b, c := listenAt(t, alice4), listenAt(t, bob4), listenAt(t, alice4)
	join(t, f, port, a.addr, b.addr)
	join(t, f, port, c.addr, netip.MustParseAddrPort("192.0.2.1:1")) // no route
	// The worker is held, so that all are one batch.
	release := hold(f.workers[0])
	const each = 10
	for i := range each {
		c.send(own(alice4, port), data(i, 32))
		a.send(own(alice4, port), data(i, 32))
	}
	release()
	for i := range each {
		if got, _ := b.receive(); numberOf(got) != i {
			t.Fatalf("datagram %d came in place of %d", numberOf(got), i)
		}
	}
	waitFor(t, "drops", func() bool { return f.Drops()["send-error"] == each })
}

// hold keeps a worker from its sockets until the returned function is called.
func hold(w *worker) (release func()) {
	holding, released := make(chan bool), make(chan bool)
	go func() {
		_ = w.do(func() error { holding <- true; <-released; return nil })
	}()
	<-holding
	return func() { close(released) }
}

func TestDrops(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	stranger := listenAt(t, alice6)
	join(t, f, port, a.addr, b.addr)
	at := own(alice4, port)
	a.send(at, nil)
	a.send(at, []byte("GET / HTTP/1.1"))
	a.send(at, data(0, 31))
	a.send(at, data(0, 33))
	stranger.send(own(alice6, port), data(0, 32))
	stranger.send(own(alice6, port), []byte("\x00\x01 STUN, perhaps"))
	stranger.send(own(alice6, port), relayFrame(1, 1201))
	stranger.send(own(alice6, port), append([]byte{0xa1, 3}, make([]byte, 30)...)) // nodes' own
	a.send(at, append([]byte{0xa1, 3}, 7))
	if got, _ := b.receive(); !bytes.Equal(got, []byte{0xa1, 3, 7}) {
		t.Errorf("%x was forwarded", got)
	}
	want := map[string]uint64{"not-forwardable": 5, "no-flow": 2, "oversized": 1}
	nonzero := cmpopts.IgnoreMapEntries(func(_ string, n uint64) bool { return n == 0 })
	waitFor(t, fmt.Sprintf("drops %v", want), func() bool { return cmp.Equal(want, f.Drops(), nonzero) })
}

func TestSend(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{})
	must(t, f.Open(port))
	for _, addr := range []netip.Addr{alice4, alice6} {
		a := listenAt(t, addr)
		must(t, f.Send(own(addr, port), a.addr, []byte("reset")))
		if b, from := a.receive(); string(b) != "reset" || from != own(addr, port) {
			t.Errorf("%q came from %v", b, from)
		}
	}
	if err := f.Send(own(alice4, port+1), netip.AddrPortFrom(alice4, 9), nil); err == nil {
		t.Error("sent from a port that is not open")
	}
}

func TestRunOnce(t *testing.T) {
	inNamespace(t)
	f := New(Config{Addrs: []netip.Addr{own4}})
	runs(t, f)()
	if err := f.Run(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("run again: %v", err)
	}
	if err := f.Open(port); !errors.Is(err, ErrEnded) {
		t.Errorf("open after the end: %v", err)
	}
	f.Close(port)
}
