package forward

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/credant/credant/relay/wire"
)

// relayFrame is a relay frame as far as the forwarder looks.
func relayFrame(number byte, size int) []byte {
	b := make([]byte, size)
	b[0], b[1], b[2] = 0xa0|wire.Version, byte(wire.KindRequest), number
	return b
}

func TestHandle(t *testing.T) {
	inNamespace(t)
	type handled struct {
		at, from netip.AddrPort
		b        []byte
	}
	up := make(chan handled, 100)
	f := start(t, Config{Handle: func(at, from netip.AddrPort, b []byte) {
		up <- handled{at, from, bytes.Clone(b)}
	}})
	must(t, f.Open(port))
	a, b, stranger := listenAt(t, alice4), listenAt(t, bob4), listenAt(t, alice6)
	join(t, f, port, a.addr, b.addr)

	frame, jumbo := relayFrame(1, wire.MaxFrame), data(1, 2000)
	for _, c := range []struct {
		from    *socket
		b, want []byte
	}{
		{a, frame, frame}, // of a known source too
		{stranger, frame, frame},
		{stranger, data(2, 32), data(2, 32)},
		{stranger, jumbo, jumbo[:1500]},
	} {
		at := own(c.from.addr.Addr(), port)
		c.from.send(at, c.b)
		got := <-up
		if got.at != at || got.from != c.from.addr || !bytes.Equal(got.b, c.want) {
			t.Errorf("handled %d bytes from %v at %v, want %d from %v at %v",
				len(got.b), got.from, got.at, len(c.want), c.from.addr, at)
		}
	}
}

// While Handle hangs and strangers flood, forwarding goes on, and afterwards
// frames still come through.
func TestFlood(t *testing.T) {
	inNamespace(t)
	hanging, goOn := make(chan bool), make(chan bool)
	last := make(chan bool, 1)
	first := true
	f := start(t, Config{Workers: 1, Handle: func(_, _ netip.AddrPort, b []byte) {
		if first {
			first = false
			hanging <- true
			<-goOn
		}
		if wire.IsRelay(b) && b[2] == 2 {
			select {
			case last <- true:
			default:
			}
		}
	}})
	must(t, f.Open(port))
	a, b, stranger := listenAt(t, alice4), listenAt(t, bob4), listenAt(t, alice4)
	join(t, f, port, a.addr, b.addr)
	at := own(alice4, port)
	stranger.send(at, data(0, 32))
	<-hanging
	for i := range 100 {
		for range 50 {
			stranger.send(at, data(0, 32))
			stranger.send(at, relayFrame(1, 64))
		}
		a.send(at, data(i, 1424))
		if got, _ := b.receive(); numberOf(got) != i {
			t.Fatalf("datagram %d came in place of %d", numberOf(got), i)
		}
	}
	drops := f.Drops()
	if drops["no-flow"] != 5001 || drops["busy"] == 0 || drops["busy"] > 5000-framesAtOnce {
		t.Errorf("drops %v", drops)
	}
	close(goOn)
	for {
		stranger.send(at, relayFrame(2, 64))
		select {
		case <-last:
			return
		default:
		}
	}
}

func TestRate(t *testing.T) {
	var r rate
	const second = 1_000_000_000
	count := func(now int64) (n int) {
		for r.take(now, 100, 10) {
			n++
		}
		return n
	}
	if n := count(second); n != 10 {
		t.Errorf("%d at once", n)
	}
	if n := count(second + second/20); n != 5 {
		t.Errorf("%d after 50 ms", n)
	}
	if n := count(100 * second); n != 10 {
		t.Errorf("%d after a long time", n)
	}
}
