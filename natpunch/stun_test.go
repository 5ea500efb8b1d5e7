package natpunch

import (
	"encoding/json"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/demux"
	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v2"
)

var (
	server1 = netip.MustParseAddrPort("198.51.100.1:3478")
	server2 = netip.MustParseAddrPort("198.51.100.2:3478")
	server3 = netip.MustParseAddrPort("203.0.113.3:3478")
	server4 = netip.MustParseAddrPort("203.0.113.4:3478")
	second1 = netip.MustParseAddrPort("198.51.100.1:3479")
	mapped1 = netip.MustParseAddrPort("192.0.2.1:41000")
	mapped2 = netip.MustParseAddrPort("192.0.2.1:41001")
	epoch   = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

// until runs s until end, or until it has nothing to do, and returns what it
// sends and when. answer may be nil.
func until(t *testing.T, s *STUN, now, end time.Time, answer func(Send) []byte) (sent []string, at time.Time) {
	t.Helper()
	start := now
	for {
		for _, x := range s.Advance(now) {
			if got := demux.Classify(x.Data); got != demux.STUN {
				t.Fatalf("sent %v", got)
			}
			sent = append(sent, now.Sub(start).String()+" "+x.To.String())
			if answer == nil {
				continue
			}
			if b := answer(x); b != nil {
				if reason := s.Receive(now, x.To, b); reason != "" {
					t.Fatalf("answer of %v dropped: %s", x.To, reason)
				}
			}
		}
		next, ok := s.Next()
		if !ok || next.After(end) {
			return sent, now
		}
		if !next.After(now) {
			next = now.Add(time.Millisecond)
		}
		now = next
	}
}

// sees answers as servers do to which this node appears at these addresses.
func sees(m map[netip.AddrPort]netip.AddrPort) func(Send) []byte {
	return func(x Send) []byte {
		if a, ok := m[x.To]; ok {
			return bindingResponse(x.Data, a)
		}
		return nil
	}
}

func TestRetransmission(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1})
	got, _ := until(t, s, epoch, epoch.Add(20*time.Second), nil)
	want := []string{"0s 198.51.100.1:3478", "250ms 198.51.100.1:3478", "750ms 198.51.100.1:3478", "1.75s 198.51.100.1:3478", "3.75s 198.51.100.1:3478"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	st := s.Result().IPv4
	if st.Mapping != UnknownBehavior || len(st.Reflexive) > 0 || st.Detail != "no STUN server answers: UDP to the internet may be blocked" {
		t.Errorf("status %+v", st)
	}
	// It goes on trying, ever more rarely.
	more, _ := until(t, s, epoch.Add(20*time.Second), epoch.Add(24*time.Hour), nil)
	if len(more) < 24*4*5 || len(more) > 24*6*5 {
		t.Errorf("%d requests in a day without an answer", len(more))
	}
}

func TestMapping(t *testing.T) {
	all := []netip.AddrPort{server1, server2, server3}
	tests := map[string]struct {
		servers   []netip.AddrPort
		sees      map[netip.AddrPort]netip.AddrPort
		own       string
		want      MappingBehavior
		reflexive []netip.AddrPort
		detail    string
	}{
		"endpoint-independent": {
			all,
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1, server3: mapped1},
			"192.168.1.10",
			EndpointIndependent,
			[]netip.AddrPort{mapped1},
			"a NAT that keeps one port for all destinations: direct paths work",
		},
		"address-dependent, or worse": {
			all,
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped2, server3: mapped1},
			"192.168.1.10",
			AddressDependent,
			[]netip.AddrPort{mapped1, mapped2},
			"a NAT that takes another port for each destination: direct paths only to peers that are not behind such a NAT themselves",
		},
		"two ports of one server": {
			[]netip.AddrPort{server1, second1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, second1: mapped2},
			"192.168.1.10",
			AddressAndPortDependent,
			[]netip.AddrPort{mapped1, mapped2},
			"a NAT that takes another port for each destination: direct paths only to peers that are not behind such a NAT themselves",
		},
		"two ports of one server tell nothing when equal": {
			[]netip.AddrPort{server1, second1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, second1: mapped1},
			"192.168.1.10",
			UnknownBehavior,
			[]netip.AddrPort{mapped1},
			"only one STUN server answers, which is too few to judge the NAT",
		},
		"one answer": {
			all,
			map[netip.AddrPort]netip.AddrPort{server2: mapped1},
			"192.168.1.10",
			UnknownBehavior,
			[]netip.AddrPort{mapped1},
			"only one STUN server answers, which is too few to judge the NAT",
		},
		"no NAT": {
			all,
			map[netip.AddrPort]netip.AddrPort{server2: mapped1},
			"192.0.2.1",
			EndpointIndependent,
			[]netip.AddrPort{mapped1},
			"no NAT: this host has a public address",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewSTUN(tt.servers)
			s.SetLocal([]netip.Addr{netip.MustParseAddr(tt.own)}, 41000)
			until(t, s, epoch, epoch.Add(time.Minute), sees(tt.sees))
			st := s.Result().IPv4
			if st.Mapping != tt.want || !slices.Equal(st.Reflexive, tt.reflexive) || st.Detail != tt.detail {
				t.Errorf("status %+v, want mapping %v, reflexive %v, %q", st, tt.want, tt.reflexive, tt.detail)
			}
			if st.Servers != len(tt.sees) || st.PortPreserved == nil || !*st.PortPreserved {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// Three servers are asked at once; one that does not answer gets company, one
// that refuses a successor at once; nobody is asked who is not needed.
func TestServersAreAskedInTurn(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2, server3, server4})
	got, _ := until(t, s, epoch, epoch.Add(10*time.Second), sees(map[netip.AddrPort]netip.AddrPort{
		server1: mapped1, server2: mapped1, server3: mapped1, server4: mapped1,
	}))
	want := []string{"0s 198.51.100.1:3478", "0s 198.51.100.2:3478", "0s 203.0.113.3:3478"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all answer (-want +got):\n%s", diff)
	}

	s = NewSTUN([]netip.AddrPort{server1, server2, server3, server4})
	refuses := func(x Send) []byte {
		if x.To != server1 {
			return bindingResponse(x.Data, mapped1)
		}
		m := stun.Message{Raw: x.Data}
		if m.Decode() != nil {
			return nil
		}
		return stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingError, stun.CodeServerError).Raw
	}
	got, _ = until(t, s, epoch, epoch.Add(10*time.Second), refuses)
	want = append(want, "1ms 203.0.113.4:3478")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("one refuses (-want +got):\n%s", diff)
	}

	s = NewSTUN([]netip.AddrPort{server1, server2, server3, server4})
	_, at := until(t, s, epoch, epoch.Add(10*time.Second), sees(map[netip.AddrPort]netip.AddrPort{server4: mapped1}))
	if len(s.Result().IPv4.Reflexive) != 1 {
		t.Errorf("three are dead, the fourth was not asked")
	}
	if at.Sub(epoch) > 7*time.Second {
		t.Errorf("took %v", at.Sub(epoch))
	}
}

// Quiet days: one request to one server every quarter of an hour.
func TestRefreshIsCheap(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2, server3, server4})
	same := sees(map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1, server3: mapped1, server4: mapped1})
	_, now := until(t, s, epoch, epoch.Add(time.Minute), same)
	sent, _ := until(t, s, now, now.Add(24*time.Hour), same)
	if len(sent) < 80 || len(sent) > 110 {
		t.Errorf("%d requests in a day", len(sent))
	}
}

// The mapping moved: everything is measured anew, and the old address is gone.
func TestRefreshNoticesAnotherMapping(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2, server3})
	m := map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1, server3: mapped1}
	until(t, s, epoch, epoch.Add(time.Minute), sees(m))
	for k := range m {
		m[k] = mapped2
	}
	until(t, s, epoch.Add(time.Minute), epoch.Add(30*time.Minute), sees(m))
	st := s.Result().IPv4
	if !slices.Equal(st.Reflexive, []netip.AddrPort{mapped2}) || st.Mapping != EndpointIndependent || st.Servers != 3 {
		t.Errorf("status %+v", st)
	}
}

func TestRefreshForgets(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2})
	until(t, s, epoch, epoch.Add(time.Minute), sees(map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1}))
	s.Refresh(epoch.Add(time.Minute))
	if got := s.Result().Reflexive(); len(got) > 0 {
		t.Errorf("another network, and still %v", got)
	}
	sent, _ := until(t, s, epoch.Add(time.Minute), epoch.Add(2*time.Minute), nil)
	if len(sent) < 10 {
		t.Errorf("asked %v", sent)
	}
}

// An address is told as soon as one server has answered: paths need not wait for
// the judgement.
func TestFirstAnswerIsTold(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2})
	for _, x := range s.Advance(epoch) {
		if x.To == server1 {
			if reason := s.Receive(epoch, x.To, bindingResponse(x.Data, mapped1)); reason != "" {
				t.Fatal(reason)
			}
		}
	}
	if got := s.Result().Reflexive(); !slices.Equal(got, []netip.AddrPort{mapped1}) {
		t.Errorf("reflexive %v", got)
	}
}

// Servers are resolved one after the other.
func TestServersThatComeLater(t *testing.T) {
	s := NewSTUN(nil)
	if _, ok := s.Next(); ok || len(s.Advance(epoch)) > 0 {
		t.Fatal("something is due without servers")
	}
	m := sees(map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1, server3: mapped1})
	var list []netip.AddrPort
	now := epoch
	for _, a := range []netip.AddrPort{server1, server2, server3} {
		list = append(list, a)
		s.SetServers(list)
		_, now = until(t, s, now, now.Add(time.Second), m)
	}
	if st := s.Result().IPv4; st.Mapping != EndpointIndependent || st.Servers < 2 {
		t.Errorf("status %+v", st)
	}
	s.SetServers(nil)
	if _, ok := s.Next(); ok || len(s.Result().Reflexive()) > 0 {
		t.Error("without servers, something is due or known")
	}
}

// A host without IPv6 asks nobody over IPv6, and does not complain.
func TestFamilies(t *testing.T) {
	six := netip.MustParseAddrPort("[2001:db8::1]:3478")
	s := NewSTUN([]netip.AddrPort{server1, six})
	s.SetLocal([]netip.Addr{netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("fd00::1")}, 41000)
	for _, x := range s.Advance(epoch) {
		if x.To == six {
			t.Error("asked over IPv6")
		}
	}
	if st := s.Result().IPv6; st.Detail != "" {
		t.Errorf("status %+v", st)
	}
	s.SetLocal([]netip.Addr{netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("2001:db8:5::5")}, 41000)
	if !slices.ContainsFunc(s.Advance(epoch), func(x Send) bool { return x.To == six }) {
		t.Error("IPv6 is there, and nobody asked")
	}
}

func TestStatusJSON(t *testing.T) {
	s := NewSTUN([]netip.AddrPort{server1, server2})
	s.SetLocal([]netip.Addr{netip.MustParseAddr("192.168.1.10")}, 41001)
	until(t, s, epoch, epoch.Add(time.Minute), sees(map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1}))
	got, err := json.Marshal(s.Result())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ipv4":{"mapping":"endpoint-independent","filtering":"unknown","translated":true,"port_preserved":false,` +
		`"reflexive":["192.0.2.1:41000"],"servers":2,"behavior_discovery":0,"detail":"a NAT that keeps one port for all destinations: direct paths work"},` +
		`"ipv6":{"mapping":"unknown","filtering":"unknown","servers":0,"behavior_discovery":0}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// asked returns a machine that waits for one answer, and the request.
func asked(tb testing.TB) (*STUN, []byte) {
	tb.Helper()
	s := NewSTUN([]netip.AddrPort{server1})
	sent := s.Advance(epoch)
	if len(sent) != 1 {
		tb.Fatalf("sent %v", sent)
	}
	return s, sent[0].Data
}

// attribute is one raw attribute, padded.
func attribute(typ stun.AttrType, v ...byte) stun.Setter {
	return stun.RawAttribute{Type: typ, Value: v}
}

func TestSTUNReceive(t *testing.T) {
	ipv4 := &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 41000}
	tests := []struct {
		name string
		from netip.AddrPort
		in   func(id stun.Setter) []byte
		want string
	}{
		{"answer", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, ipv4).Raw
		}, ""},
		{"with FINGERPRINT and what we do not know", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, attribute(0x8099, 1, 2, 3), ipv4, stun.NewSoftware("x"), stun.Fingerprint).Raw
		}, ""},
		{"from another server", server2, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, ipv4).Raw
		}, demux.DropUnsolicited},
		{"from another port", second1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, ipv4).Raw
		}, demux.DropUnsolicited},
		{"another transaction", server1, func(stun.Setter) []byte {
			return stun.MustBuild(stun.TransactionID, stun.BindingSuccess, ipv4).Raw
		}, demux.DropUnsolicited},
		{"another family", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.ParseIP("2001:db8::1"), Port: 1}).Raw
		}, demux.DropUnsolicited},
		{"a request", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingRequest).Raw
		}, demux.DropUnsolicited},
		{"an indication", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.NewType(stun.MethodBinding, stun.ClassIndication), ipv4).Raw
		}, demux.DropMalformed},
		{"another method", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse), ipv4).Raw
		}, demux.DropMalformed},
		{"no address", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess).Raw
		}, demux.DropMalformed},
		{"empty address attribute", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, attribute(stun.AttrXORMappedAddress)).Raw
		}, demux.DropMalformed},
		{"address of one byte", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, attribute(stun.AttrXORMappedAddress, 0)).Raw
		}, demux.DropMalformed},
		{"IPv6 of four bytes", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, attribute(stun.AttrXORMappedAddress, 0, 2, 1, 2, 3, 4, 5, 6)).Raw
		}, demux.DropMalformed},
		{"no family", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, attribute(stun.AttrXORMappedAddress, 0, 9, 1, 2, 3, 4, 5, 6)).Raw
		}, demux.DropMalformed},
		{"loopback", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 5}).Raw
		}, demux.DropMalformed},
		{"wrong FINGERPRINT", server1, func(id stun.Setter) []byte {
			b := stun.MustBuild(id, stun.BindingSuccess, ipv4, stun.Fingerprint).Raw
			b[len(b)-1] ^= 1
			return b
		}, demux.DropMalformed},
		{"short FINGERPRINT", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, ipv4, attribute(stun.AttrFingerprint, 1)).Raw
		}, demux.DropMalformed},
		{"bytes after the end", server1, func(id stun.Setter) []byte {
			return append(stun.MustBuild(id, stun.BindingSuccess, ipv4).Raw, 0, 0, 0, 0)
		}, demux.DropMalformed},
		{"cut", server1, func(id stun.Setter) []byte {
			b := stun.MustBuild(id, stun.BindingSuccess, ipv4).Raw
			return b[:len(b)-4]
		}, demux.DropMalformed},
		{"oversized", server1, func(id stun.Setter) []byte {
			return stun.MustBuild(id, stun.BindingSuccess, ipv4, attribute(0x8099, make([]byte, 600)...)).Raw
		}, demux.DropOversized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, request := asked(t)
			id := [12]byte(request[8:20])
			if got := s.Receive(epoch, tt.from, tt.in(stun.NewTransactionIDSetter(id))); got != tt.want {
				t.Errorf("dropped %q, want %q", got, tt.want)
			}
			if got := len(s.Result().Reflexive()); got != map[bool]int{true: 1, false: 0}[tt.want == ""] {
				t.Errorf("%d addresses are known", got)
			}
		})
	}
}

func TestOtherAddressIsNoted(t *testing.T) {
	s, request := asked(t)
	b := stun.MustBuild(stun.NewTransactionIDSetter([12]byte(request[8:20])), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 41000},
		&stun.OtherAddress{IP: net.IPv4(198, 51, 100, 2).To4(), Port: 3479}).Raw
	if reason := s.Receive(epoch, server1, b); reason != "" || s.Result().IPv4.BehaviorDiscovery != 1 {
		t.Errorf("dropped %q, status %+v", reason, s.Result().IPv4)
	}
}

// RFC 5769, Section 2.2 and 2.3: the published responses, whose FINGERPRINT
// covers all that they hold.
func TestRFC5769(t *testing.T) {
	const id = "b7e7a701bc34d686fa87dfae"
	const software = "8022000b" + "7465737420766563746f7220"
	for name, tt := range map[string]struct{ in, want string }{
		"IPv4": {
			"0101003c2112a442" + id + software + "002000080001a147e112a643" +
				"000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7" + "80280004c07d4c96",
			"192.0.2.1:32853",
		},
		"IPv6": {
			"010100482112a442" + id + software + "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9" +
				"00080014a382954e4be67bf11784c97c8292c275bfe3ed41" + "80280004c8fb0b4c",
			"[2001:db8:1234:5678:11:2233:4455:6677]:32853",
		},
	} {
		b, ok := parseBinding(unhex(t, tt.in))
		if !ok || b.mapped != netip.MustParseAddrPort(tt.want) {
			t.Errorf("%s: %+v, %v; want %s", name, b, ok, tt.want)
		}
	}
}

func TestBindingRequest(t *testing.T) {
	_, b := asked(t)
	want := "000100082112a442" // header, then the id, then FINGERPRINT
	if got := string(unhex(t, want)); string(b[:8]) != got || len(b) != 28 || string(b[20:24]) != string(unhex(t, "80280004")) {
		t.Fatalf("request %x", b)
	}
	sum := crc32.ChecksumIEEE(b[:20]) ^ 0x5354554e // RFC 8489, Section 14.7
	if got := uint32(b[24])<<24 | uint32(b[25])<<16 | uint32(b[26])<<8 | uint32(b[27]); got != sum {
		t.Errorf("FINGERPRINT %08x, want %08x", got, sum)
	}
}

// No datagram crashes the parser, and what it accepts is an address that one may
// send to.
func FuzzParseBinding(f *testing.F) {
	id := stun.NewTransactionIDSetter([12]byte{1, 2, 3})
	for _, m := range []*stun.Message{
		stun.MustBuild(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 41000}, stun.Fingerprint),
		stun.MustBuild(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.ParseIP("2001:db8::1"), Port: 1}),
		stun.MustBuild(id, stun.BindingSuccess, attribute(stun.AttrXORMappedAddress)),
		stun.MustBuild(id, stun.BindingError, stun.CodeTryAlternate),
		stun.MustBuild(id, stun.BindingRequest, stun.Fingerprint),
		stun.MustBuild(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 41000},
			&stun.OtherAddress{IP: net.IPv4(198, 51, 100, 2).To4(), Port: 3479}),
	} {
		f.Add(m.Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseBinding(b)
		if ok && !r.failed && !r.request && (!r.mapped.IsValid() || r.mapped.Port() == 0 || !r.mapped.Addr().IsGlobalUnicast() || r.mapped.Addr().Is4In6()) {
			t.Fatalf("%x: %+v", b, r)
		}
		if r.other.IsValid() && (r.other.Port() == 0 || !r.other.Addr().IsGlobalUnicast() || r.other.Addr().Is4In6()) {
			t.Fatalf("%x: other address %v", b, r.other)
		}
		s, _ := asked(t)
		s.Receive(epoch, server1, b)
		if len(s.Result().Reflexive()) > 0 && !ok {
			t.Fatalf("%x: no binding, and believed", b)
		}
	})
}
