package stunserver

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

var (
	now   = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	addrs = []netip.Addr{
		netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2"),
	}
	ports   = []uint16{3478, 3479}
	client4 = netip.MustParseAddrPort("192.0.2.1:32853")
	client6 = netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853")
)

// RFC 5769, Sections 2.1 to 2.3.
const (
	sampleRequest = "000100582112a442b7e7a701bc34d686fa87dfae" +
		"802200105354554e207465737420636c69656e74" + "002400046e0001ff" + "80290008932ff9b151263b36" +
		"000600096576746a3a68367659202020" + "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2" + "80280004e57a3bcf"
	sampleResponse4 = "0101003c2112a442b7e7a701bc34d686fa87dfae" +
		"8022000b7465737420766563746f7220" + "002000080001a147e112a643" +
		"000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7" + "80280004c07d4c96"
	sampleResponse6 = "010100482112a442b7e7a701bc34d686fa87dfae" +
		"8022000b7465737420766563746f7220" + "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9" +
		"00080014a382954e4be67bf11784c97c8292c275bfe3ed41" + "80280004c8fb0b4c"
)

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	r, drop := parseRequest(fromHex(t, sampleRequest))
	if drop != "" || !r.fingerprint {
		t.Fatalf("the sample request is dropped: %q, fingerprint %v", drop, r.fingerprint)
	}
	if !slices.Equal(r.unknown, []uint16{0x0024}) { // ICE's PRIORITY; the rest is optional or credentials
		t.Errorf("unknown attributes %#x", r.unknown)
	}
	for _, sample := range []struct {
		response string
		mapped   netip.AddrPort
	}{{sampleResponse4, client4}, {sampleResponse6, client6}} {
		b := appendHeader(nil, bindingResponse, r.transaction)
		attribute := appendAddress(nil, attrXORMappedAddress, sample.mapped, [16]byte(b[4:headerSize]))
		if want := hex.EncodeToString(attribute); !strings.Contains(sample.response, want) {
			t.Errorf("%v is encoded as %s, which is not in the sample", sample.mapped, want)
		}
	}
	for _, sample := range []string{sampleRequest, sampleResponse4, sampleResponse6} {
		b := fromHex(t, sample)
		if got := hex.EncodeToString(finish(b[:len(b)-8], true)); got != sample {
			t.Errorf("with its fingerprint made anew the sample is\n%s, want\n%s", got, sample)
		}
	}
}

// ask builds a request with another implementation.
func ask(t testing.TB, setters ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type attribute stun.RawAttribute

func (a attribute) AddTo(m *stun.Message) error { m.Add(a.Type, a.Value); return nil }

func changeRequest(flags byte) stun.Setter {
	return attribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, flags}}
}

func responsePort(port uint16) stun.Setter {
	return attribute{Type: stun.AttrResponsePort, Value: binary.BigEndian.AppendUint16(nil, port)}
}

func padding(n int) stun.Setter {
	return attribute{Type: stun.AttrPadding, Value: make([]byte, n)}
}

func decode(t testing.TB, request *stun.Message, response []byte) *stun.Message {
	t.Helper()
	m := &stun.Message{Raw: response}
	if err := m.Decode(); err != nil {
		t.Fatalf("decode response: %v", err)
	}
	if m.TransactionID != request.TransactionID {
		t.Fatal("the response has another transaction id")
	}
	return m
}

func TestDiscovery(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	for _, client := range []netip.AddrPort{client4, client6} {
		family := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is4() != client.Addr().Is4() })
		for i := range 4 {
			at := netip.AddrPortFrom(family[i/2], ports[i%2])
			for flags := range byte(4) {
				leave := netip.AddrPortFrom(family[i/2^int(flags>>1)], ports[i%2^int(flags&1)])
				t.Run(fmt.Sprintf("%v at %v, change %d", client, at, flags), func(t *testing.T) {
					request := ask(t, changeRequest(flags<<1))
					b, left, to, ok := s.Respond(now, request.Raw, at, client)
					if !ok || left != leave || to != client {
						t.Fatalf("leaves from %v to %v (%v), want %v", left, to, ok, leave)
					}
					m := decode(t, request, b)
					var mapped stun.XORMappedAddress
					var origin stun.ResponseOrigin
					var other stun.OtherAddress
					if err := m.Parse(&mapped, &origin, &other); err != nil {
						t.Fatal(err)
					}
					var plain stun.MappedAddress
					if err := plain.GetFrom(m); err != nil || plain.String() != client.String() {
						t.Errorf("MAPPED-ADDRESS is %v: %v", plain, err)
					}
					for what, pair := range map[string][2]string{
						"XOR-MAPPED-ADDRESS": {mapped.String(), client.String()},
						"RESPONSE-ORIGIN":    {origin.String(), leave.String()},
						"OTHER-ADDRESS":      {other.String(), netip.AddrPortFrom(family[1-i/2], ports[1-i%2]).String()},
					} {
						if pair[0] != pair[1] {
							t.Errorf("%s is %s, want %s", what, pair[0], pair[1])
						}
					}
					if m.Contains(stun.AttrFingerprint) || m.Contains(stun.AttrSoftware) {
						t.Error("there is an attribute that nobody asked for")
					}
				})
			}
		}
	}
}

// Where behaviour cannot be discovered the server says so, and answers plainly.
func TestPlain(t *testing.T) {
	private := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	at := netip.AddrPortFrom(addrs[0], 3478)
	for name, c := range map[string]struct {
		config   Config
		at, from netip.AddrPort
	}{
		"one address":          {Config{Addrs: addrs[:2], Ports: ports}, at, client4},
		"twice the same":       {Config{Addrs: []netip.Addr{addrs[0], addrs[0]}, Ports: ports}, at, client4},
		"one port":             {Config{Addrs: addrs, Ports: ports[:1]}, at, client4},
		"second port 0":        {Config{Addrs: addrs, Ports: []uint16{3478, 0}}, at, client4},
		"at a third port":      {Config{Addrs: addrs, Ports: ports}, netip.AddrPortFrom(addrs[0], 20000), client4},
		"at a third address":   {Config{Addrs: addrs, Ports: ports}, netip.MustParseAddrPort("198.51.100.3:3478"), client4},
		"the other is private": {Config{Addrs: private, Ports: ports}, netip.AddrPortFrom(private[0], 3478), client4},
		"carrier-grade NAT": {
			Config{Addrs: []netip.Addr{addrs[0], netip.MustParseAddr("100.64.0.1")}, Ports: ports}, at, client4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(c.config)
			for _, request := range []*stun.Message{ask(t), ask(t, changeRequest(0)), ask(t, stun.Fingerprint)} {
				b, leave, to, ok := s.Respond(now, request.Raw, c.at, c.from)
				if !ok || leave != c.at || to != c.from {
					t.Fatalf("leaves from %v (%v), want %v", leave, ok, c.at)
				}
				m := decode(t, request, b)
				if m.Contains(stun.AttrOtherAddress) || m.Contains(stun.AttrResponseOrigin) {
					t.Error("it offers discovery")
				}
				var mapped stun.XORMappedAddress
				if err := mapped.GetFrom(m); err != nil || mapped.String() != c.from.String() {
					t.Errorf("mapped address %v: %v", mapped, err)
				}
				if request.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(m) != nil {
					t.Errorf("fingerprint: %v", stun.Fingerprint.Check(m))
				}
			}
			for _, flags := range []byte{2, 4, 6} {
				refused(t, s, ask(t, changeRequest(flags)), c.at, c.from, attrChangeRequest)
			}
			refused(t, s, ask(t, padding(4), responsePort(5000)), c.at, c.from, attrResponsePort, attrPadding)
		})
	}
}

func TestResponsePort(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	at := netip.AddrPortFrom(addrs[0], 3478)
	long := attribute{Type: stun.AttrResponsePort, Value: []byte{0x13, 0x88, 0, 0}} // as coturn writes it
	for _, request := range []*stun.Message{ask(t, responsePort(5000)), ask(t, long), ask(t, long, changeRequest(6))} {
		b, _, to, ok := s.Respond(now, request.Raw, at, client4)
		if want := netip.AddrPortFrom(client4.Addr(), 5000); !ok || to != want {
			t.Errorf("goes to %v (%v), want %v", to, ok, want)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(decode(t, request, b)); err != nil || mapped.String() != client4.String() {
			t.Errorf("mapped address %v: %v", mapped, err)
		}
	}
	// A service's port, and what would be fragments for somebody else.
	for _, request := range []*stun.Message{ask(t, responsePort(1023)), ask(t, responsePort(5000), padding(100))} {
		b, _, to, ok := s.Respond(now, request.Raw, at, client4)
		var code stun.ErrorCodeAttribute
		if !ok || to != client4 || code.GetFrom(decode(t, request, b)) != nil || code.Code != stun.CodeBadRequest {
			t.Errorf("%v goes to %v (%v)", code, to, ok)
		}
	}
}

func TestPadding(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	for _, n := range []int{0, 3, 1500} {
		request := ask(t, padding(n), stun.Fingerprint)
		b, _, _, ok := s.Respond(now, request.Raw, netip.AddrPortFrom(addrs[1], 3479), client6)
		if !ok {
			t.Fatalf("padding of %d: no answer", n)
		}
		m := decode(t, request, b)
		if got, err := m.Get(stun.AttrPadding); err != nil || len(got) != n {
			t.Errorf("padding of %d comes back as %d: %v", n, len(got), err)
		}
		if err := stun.Fingerprint.Check(m); err != nil {
			t.Error(err)
		}
	}
}

// A private client may be told of a private address.
func TestPrivateNetwork(t *testing.T) {
	private := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	s := New(Config{Addrs: private, Ports: ports})
	request := ask(t)
	b, _, _, ok := s.Respond(now, request.Raw, netip.AddrPortFrom(private[0], 3478), netip.MustParseAddrPort("10.0.0.9:1"))
	if !ok || !decode(t, request, b).Contains(stun.AttrOtherAddress) {
		t.Error("no OTHER-ADDRESS")
	}
}

func TestUnknownAttributes(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	at := netip.AddrPortFrom(addrs[0], 3478)
	refused(t, s, ask(t, attribute{Type: 0x7fff}, stun.Fingerprint), at, client4, 0x7fff)
	// What stands after MESSAGE-INTEGRITY is nobody's.
	signed := attribute{Type: stun.AttrMessageIntegrity, Value: make([]byte, 20)}
	request := ask(t, stun.NewUsername("somebody"), signed, attribute{Type: 0x7fff}, stun.Fingerprint)
	b, _, _, ok := s.Respond(now, request.Raw, at, client4)
	if !ok || decode(t, request, b).Type != stun.BindingSuccess {
		t.Error("a request with credentials is refused")
	}
}

func refused(t *testing.T, s *Server, request *stun.Message, at, from netip.AddrPort, want ...uint16) {
	t.Helper()
	b, leave, to, ok := s.Respond(now, request.Raw, at, from)
	if !ok || leave != at || to != from {
		t.Fatalf("the refusal leaves from %v (%v), want %v", leave, ok, at)
	}
	m := decode(t, request, b)
	var code stun.ErrorCodeAttribute
	if err := m.Parse(&code); err != nil {
		t.Fatal(err)
	}
	// pion's own parser takes four bytes for each attribute; RFC 8489, Section 14.9, two.
	var got []uint16
	list, _ := m.Get(stun.AttrUnknownAttributes)
	for ; len(list) >= 2; list = list[2:] {
		got = append(got, binary.BigEndian.Uint16(list))
	}
	if m.Type != stun.BindingError || code.Code != stun.CodeUnknownAttribute || !slices.Equal(got, want) {
		t.Errorf("%v %v, unknown %#x, want %#x", m.Type, code, got, want)
	}
}

func TestDrops(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	at := netip.AddrPortFrom(addrs[0], 3478)
	good := ask(t).Raw
	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for name, c := range map[string]struct {
		b    []byte
		from netip.AddrPort
		want string
	}{
		"empty":          {nil, client4, DropMalformed},
		"short":          {good[:19], client4, DropMalformed},
		"trailing bytes": {edit(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }), client4, DropMalformed},
		"no cookie":      {edit(func(b []byte) []byte { b[4] = 0; return b }), client4, DropMalformed},
		"attribute too long": {
			edit(func(b []byte) []byte { b[3] = 4; return append(b, 0x80, 0x22, 0, 1) }), client4, DropMalformed,
		},
		"change too short": {ask(t, attribute{Type: stun.AttrChangeRequest, Value: []byte{1, 2}}).Raw, client4, DropMalformed},
		"response port 0":  {ask(t, responsePort(0)).Raw, client4, DropMalformed},
		"oversized":        {ask(t, attribute{Type: stun.AttrPadding, Value: make([]byte, 1600)}).Raw, client4, DropMalformed},
		"indication":       {edit(func(b []byte) []byte { b[1] = 0x11; return b }), client4, DropNotBinding},
		"response":         {edit(func(b []byte) []byte { b[0] = 1; return b }), client4, DropNotBinding},
		"allocate":         {edit(func(b []byte) []byte { b[1] = 3; return b }), client4, DropNotBinding},
		"wrong fingerprint": {
			edit(func(b []byte) []byte { b[3] = 8; return append(b, 0x80, 0x28, 0, 4, 1, 2, 3, 4) }), client4, DropFingerprint,
		},
		"fingerprint not last": {ask(t, stun.Fingerprint, stun.NewSoftware("x")).Raw, client4, DropFingerprint},
		"port 0":               {good, netip.AddrPortFrom(client4.Addr(), 0), DropSource},
		"multicast":            {good, netip.MustParseAddrPort("224.0.0.1:5353"), DropSource},
		"broadcast":            {good, netip.MustParseAddrPort("255.255.255.255:1"), DropSource},
		"unspecified":          {good, netip.MustParseAddrPort("[::]:1"), DropSource},
		"mapped":               {good, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), DropSource},
		"nobody":               {good, netip.AddrPort{}, DropSource},
	} {
		before := s.Drops()[c.want]
		if b, _, _, ok := s.Respond(now, c.b, at, c.from); ok || b != nil {
			t.Errorf("%s: answered", name)
		}
		if got := s.Drops(); got[c.want] != before+1 {
			t.Errorf("%s: drops %v", name, got)
		}
	}
}

// Whatever is asked, the answer is at most three times as long on the wire.
func TestAmplification(t *testing.T) {
	s := New(Config{Addrs: addrs, Ports: ports})
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	worst := 0.0
	for i := range 5000 {
		var b []byte
		for range random.IntN(40) {
			b = binary.BigEndian.AppendUint16(b, []uint16{0x0003, 0x0006, 0x0026, 0x0027, 0x7ffe, 0x8022}[random.IntN(6)])
			size := random.IntN(3) * 4
			b = binary.BigEndian.AppendUint16(b, uint16(size))
			b = append(b, make([]byte, size)...)
		}
		m := append(fromHex(t, "000100002112a442b7e7a701bc34d686fa87dfae"), b...)
		binary.BigEndian.PutUint16(m[2:], uint16(len(b)))
		at, from, headers := netip.AddrPortFrom(addrs[i%2], 3478), client4, 28
		if i%2 == 1 {
			from, headers = client6, 48
		}
		response, _, _, ok := s.Respond(now.Add(time.Duration(i)*time.Second), m, at, from)
		if ok {
			worst = max(worst, float64(len(response)+headers)/float64(len(m)+headers))
		}
	}
	if worst > 3 || worst < 1 {
		t.Errorf("the longest answer is %.1f times the request (seed %d)", worst, seed)
	}
	t.Logf("at most %.1f times", worst)
}

func FuzzRespond(f *testing.F) {
	s := New(Config{Addrs: addrs, Ports: ports})
	clock := now
	f.Fuzz(func(t *testing.T, b []byte, where uint8) {
		clock = clock.Add(time.Second) // never over the rate
		at, from := netip.AddrPortFrom(addrs[where%4], ports[where/4%2]), client4
		if at.Addr().Is6() {
			from = client6
		}
		before := slices.Clone(b)
		response, leave, to, ok := s.Respond(clock, b, at, from)
		if !slices.Equal(b, before) {
			t.Fatal("the request was written to")
		}
		if !ok {
			return
		}
		if to.Addr() != from.Addr() || to != from && to.Port() < 1024 {
			t.Errorf("goes to %v", to)
		}
		if leave.Addr().Is4() != from.Addr().Is4() || !slices.Contains(addrs, leave.Addr()) || !slices.Contains(ports, leave.Port()) {
			t.Errorf("leaves from %v", leave)
		}
		if len(response)+28 > 3*(len(b)+28) {
			t.Errorf("%d bytes answer %d", len(response), len(b))
		}
		m := &stun.Message{Raw: response}
		if err := m.Decode(); err != nil {
			t.Errorf("the response cannot be read: %v", err)
		}
		if m.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(m) != nil {
			t.Error("the response has a wrong fingerprint")
		}
	})
}
