package scenario

import (
	"bytes"
	endian "encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/relay/wire"
)

// An attacker with many sources, true and forged, floods both ports that a relayed pair uses. The pair's streams go
// on, the relay neither grows nor answers with more than came, and nothing comes through.
func TestRelayFlood(t *testing.T) {
	const count, perSecond = 25_000, 5000
	w := newWorld(t, "embedded")
	home, office := w.NAT("home", lab.Symmetric), w.NAT("office", lab.Symmetric)
	a, b := w.join(home.Host("alice")), w.join(office.Host("bob"))
	mallory, bystander, visitor := w.Host("mallory"), w.Host("bystander"), w.Host("visitor")
	mallory.Addresses = 8
	vps := w.relay(w.Host("vps"), "--no-dht", "--metrics", metricsAt)
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	wiretap, err := vps.Host.Capture("eth0")
	w.must(err)
	w.relayed(a, b)
	streams := w.streams(a, b, 200)
	time.Sleep(500 * time.Millisecond)

	before, _ := a.peer(b)
	port, err := netip.ParseAddrPort(before.Endpoint)
	w.must(err)
	relay := vps.Host.IPv4()[0]
	fronts := []netip.AddrPort{netip.AddrPortFrom(relay, wire.DefaultPort), port}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	at := newAttack(random, relay, wiretap.Stop())
	t.Logf("overheard: %d requests, %d packets of the tunnel, %d others", len(at.requests), len(at.tunnel), len(at.others))
	captures := map[string]*lab.Capture{}
	for _, c := range []struct {
		of    *lab.Node
		iface string
	}{{home.Node, "wan"}, {office.Node, "wan"}, {mallory.Node, "eth0"}, {bystander.Node, "eth0"}, {b.Host.Node, b.status().Interface}} {
		captures[c.of.Name], err = c.of.Capture(c.iface)
		w.must(err)
	}
	sixes := make([]*net.UDPConn, 0, mallory.Addresses)
	for _, addr := range mallory.IPv6() {
		conn, err := mallory.ListenUDP(netip.AddrPortFrom(addr, 0))
		w.must(err)
		defer conn.Close()
		sixes = append(sixes, conn)
	}

	resident := memoryKB(t, vps.Daemon(), "VmRSS")
	forger := w.forger(mallory)
	high := func() uint16 { return uint16(1024 + random.IntN(64000)) }
	var newcomers []*guest
	sent := 0
	flood := func() error {
		to := pick(at, fronts)
		if sent++; sent == count/2 { // in the middle of it two of another network come
			network, one, two := w.network(), keys.GenerateNode(), keys.GenerateNode()
			newcomers = []*guest{
				w.guest(visitor, vps, network, one, two.Public()), w.guest(visitor, vps, network, two, one.Public()),
			}
		}
		switch n := random.IntN(100); {
		case n < 10:
			six := netip.AddrPortFrom(vps.Host.IPv6()[0], to.Port())
			_, err := pick(at, sixes).WriteToUDPAddrPort(at.made(), six)
			return err
		case n < 40:
			return forger.send(netip.AddrPortFrom(pick(at, mallory.IPv4()), high()), to, at.made())
		case n < 50: // STUN has ports of its own here, so that it is counted by itself
			from := netip.AddrPortFrom(pick(at, mallory.IPv4()), uint16(1+random.IntN(1000)))
			return forger.send(from, fronts[0], at.bindingRequest())
		case n < 60: // genuine, from elsewhere
			p := pick(at, pick(at, [][]lab.Packet{at.requests, at.tunnel, at.others}))
			return forger.send(netip.AddrPortFrom(pick(at, mallory.IPv4()), high()), to, p.Payload)
		case n < 75:
			return forger.send(netip.AddrPortFrom(bystander.IPv4()[0], high()), to, at.made())
		case n < 90:
			return forger.send(netip.AddrPortFrom(pick(at, []*lab.Router{home, office}).PublicIPv4(), high()), to, at.made())
		case n < 95: // genuine, from where it came from, to where it went: all over again
			p := pick(at, pick(at, [][]lab.Packet{at.requests, at.tunnel}))
			return forger.send(p.Src, p.Dst, p.Payload)
		case n < 99:
			return forger.send(pick(at, at.requests).Src, to, wire.AppendAsk(nil, wire.TransactionID(at.noise(16))))
		default:
			return forger.send(netip.AddrPortFrom(relay, pick(at, fronts).Port()), to, at.made())
		}
	}
	took := w.paced(count, perSecond, flood)
	served := func() bool { return newcomers[0].served() && newcomers[1].served() }
	for range 10 { // they had half of the flood for it; on a busy machine it goes on for them
		if !served() {
			took += w.paced(perSecond, perSecond, flood)
		}
	}
	t.Logf("%d datagrams in %v", sent, took.Round(time.Millisecond))
	for _, g := range newcomers {
		if !g.served() {
			t.Errorf("a guest is not served: %+v", g.status())
		}
	}
	grown := memoryKB(t, vps.Daemon(), "VmHWM") - resident
	t.Logf("the relay grew by %d kB at most; %s", grown, about(w.metrics(vps)))
	if grown > 30<<10 {
		t.Errorf("the relay grew by %d kB", grown)
	}
	w.fewLost(streams, 0.01)
	after, _ := a.peer(b)
	if after.Endpoint != before.Endpoint || after.Path != "relay" {
		t.Errorf("the endpoint has moved from %s to %s, path %s", before.Endpoint, after.Endpoint, after.Path)
	}

	for _, nat := range []*lab.Router{home, office} {
		for _, p := range captures[nat.Name].Stop() {
			if !p.Outgoing && bytes.Contains(p.Payload, marked) {
				t.Fatalf("%s got what the attacker made up: %v", nat.Name, p)
			}
		}
	}
	seen := map[uint32]bool{}
	for _, p := range captures[b.Host.Name].Stop() {
		if p.Outgoing || p.Protocol != unix.IPPROTO_UDP || len(p.Payload) != 100 {
			continue
		}
		n := endian.BigEndian.Uint32(p.Payload)
		if seen[n] {
			t.Fatalf("datagram %d came through the tunnel twice", n)
		}
		seen[n] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d datagrams of the stream were seen in the tunnel", len(seen))
	}
	w.notAmplified(captures[mallory.Name].Stop())
	reflected, claimed := 0, 0
	for _, p := range captures[bystander.Name].Stop() {
		if p.Protocol == unix.IPPROTO_UDP && !p.Outgoing {
			reflected += len(p.Payload)
		}
	}
	for from, n := range forger.out {
		if from.Addr() == bystander.IPv4()[0] {
			claimed += n
		}
	}
	t.Logf("in a bystander's name %d bytes, to it %d", claimed, reflected)
	if claimed == 0 || reflected == 0 || reflected > claimed {
		t.Error("that is more, or nothing was tried")
	}
}

// notAmplified looks at what an attacker's host sent and got: nowhere more came back than went out, but for STUN,
// whose answers carry addresses.
func (w *world) notAmplified(packets []lab.Packet) {
	w.t.Helper()
	var out, in, stunOut, stunIn int
	balance := map[netip.AddrPort]int{}
	for _, p := range packets {
		switch n := len(p.Payload); {
		case p.Protocol != unix.IPPROTO_UDP:
		case p.Outgoing && p.Src.Port() <= 1000:
			stunOut += n
		case p.Outgoing:
			out, balance[p.Src] = out+n, balance[p.Src]+n
		case p.Dst.Port() <= 1000:
			stunIn += n
		default:
			in, balance[p.Dst] = in+n, balance[p.Dst]-n
		}
	}
	w.t.Logf("the attacker sent %d bytes and got %d; of STUN %d and %d", out, in, stunOut, stunIn)
	if in == 0 || stunIn == 0 {
		w.t.Error("the relay answered nothing: did anything arrive?")
	}
	if in > out || stunIn > 3*stunOut || in+stunIn > out+stunOut {
		w.t.Error("the relay sent more than came")
	}
	for addr, n := range balance {
		if n < 0 {
			w.t.Errorf("%v, for one, got %d bytes more than it sent", addr, -n)
			break
		}
	}
}

// memoryKB is a line of the program's /proc status: VmRSS, or VmHWM for the most that it ever was.
func memoryKB(t *testing.T, p *lab.Process, line string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		var kb int
		if _, err := fmt.Sscanf(l, line+": %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatalf("no %s", line)
	return 0
}

// A forger sends IPv4 datagrams from any source.
type forger struct {
	fd  int
	out map[netip.AddrPort]int // bytes of payload that went out, by what stood there as source
}

func (w *world) forger(h *lab.Host) *forger {
	w.t.Helper()
	f := &forger{out: make(map[netip.AddrPort]int)}
	w.must(h.Do(func() (err error) {
		f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}))
	w.t.Cleanup(func() { unix.Close(f.fd) })
	return f
}

func (f *forger) send(from, to netip.AddrPort, payload []byte) error {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in length, id and checksum
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	endian.BigEndian.PutUint16(b[20:], from.Port())
	endian.BigEndian.PutUint16(b[22:], to.Port())
	endian.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	f.out[from] += len(payload)
	return unix.Sendto(f.fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: dst})
}

// marked stands in all that the attacker makes up itself and that is long enough: where it turns up, the relay has
// passed it on.
var marked = []byte("made up by mallory")

// An attack makes up datagrams for a relay.
type attack struct {
	random *rand.Rand
	// What crossed the relay's wire before the attack: genuine frames and WireGuard packets, with their sources.
	requests, tunnel, others []lab.Packet
}

func newAttack(random *rand.Rand, relay netip.Addr, overheard []lab.Packet) *attack {
	const longest = 1500 - 20 - 8 // that one packet of an Ethernet carries
	a := &attack{random: random}
	for _, p := range overheard {
		switch kind, _ := wire.ParseHeader(p.Payload); {
		case p.Protocol != unix.IPPROTO_UDP || !p.Src.Addr().Is4():
		case len(p.Payload) > longest: // put together again where it was overheard
		case p.Dst.Addr() != relay:
			a.others = append(a.others, p)
		case kind == wire.KindRequest:
			a.requests = append(a.requests, p)
		case wire.Forwardable(p.Payload) && p.Payload[0] < 0xa0:
			a.tunnel = append(a.tunnel, p)
		default:
			a.others = append(a.others, p)
		}
	}
	return a
}

func (a *attack) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(a.random.Uint32())
	}
	return b
}

func pick[T any](a *attack, from []T) T { return from[a.random.IntN(len(from))] }

// made is a datagram of the attacker's own: never one that is genuine.
func (a *attack) made() []byte {
	mark := func(b []byte) []byte {
		if len(b) >= 16+len(marked) {
			copy(b[16:], marked)
		}
		return b
	}
	switch a.random.IntN(8) {
	case 0:
		return mark(a.noise(a.random.IntN(1400)))
	case 1, 2:
		return wire.AppendAsk(nil, wire.TransactionID(a.noise(16)))
	case 3: // too short, too long, or with something in the padding
		b := append(wire.AppendAsk(nil, wire.TransactionID(a.noise(16))), a.noise(100)...)
		return b[:2+a.random.IntN(len(b)-2)]
	case 4: // a request with a cookie, a key and a body of its own
		return mark(append([]byte{0xa1, byte(wire.KindRequest)}, a.noise(160+a.random.IntN(1000))...))
	case 5: // a genuine one with one bit changed
		b := bytes.Clone(pick(a, a.requests).Payload)
		b[a.random.IntN(len(b))] ^= 1 << a.random.IntN(8)
		return b
	case 6: // between nodes
		return mark(append([]byte{0xa1, byte(1 + a.random.IntN(15))}, a.noise(60+a.random.IntN(400))...))
	default: // of WireGuard's form
		sizes := [...]int{1: 148, 2: 92, 3: 64, 4: 48 + 16*a.random.IntN(70)}
		kind := 1 + a.random.IntN(4)
		return mark(append([]byte{byte(kind), 0, 0, 0}, a.noise(sizes[kind]-4)...))
	}
}

// bindingRequest is what a STUN client asks (RFC 8489, Section 5).
func (a *attack) bindingRequest() []byte {
	return append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, a.noise(12)...)
}

// paced calls send so many times at a steady rate, in small bursts, and returns how long it took.
func (w *world) paced(count, perSecond int, send func() error) time.Duration {
	w.t.Helper()
	began := time.Now()
	for i := range count {
		if i%10 == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		}
		w.must(send())
	}
	return time.Since(began)
}
