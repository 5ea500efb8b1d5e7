package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/keys"
	discovery "github.com/credant/credant/discovery/wire"
)

func TestForwardable(t *testing.T) {
	of := func(size int, first ...byte) []byte {
		b := make([]byte, size)
		copy(b, first)
		return b
	}
	for name, tt := range map[string]struct {
		b             []byte
		forward, ours bool
	}{
		"nothing":                  {nil, false, false},
		"initiation":               {of(148, 1), true, false},
		"initiation, short":        {of(147, 1), false, false},
		"initiation, long":         {of(149, 1), false, false},
		"initiation, reserved set": {of(148, 1, 0, 1), false, false},
		"response":                 {of(92, 2), true, false},
		"cookie reply":             {of(64, 3), true, false},
		"keepalive":                {of(32, 4), true, false},
		"data":                     {of(1452+4, 4), true, false},
		"data, not padded":         {of(1455, 4), false, false},
		"data, short":              {of(16, 4), false, false},
		"no such type":             {of(148, 5), false, false},
		"STUN":                     {of(20, 0, 1), false, false},
		"DNS":                      {of(40, 0x12, 0x34, 1), false, false},
		"DHT":                      {[]byte("d1:q4:pinge"), false, false},
		"hello":                    {of(1150, 0xa1, 1), true, false},
		"check, later version":     {of(128, 0xa2, 3), true, false},
		"two bytes of ours":        {of(2, 0xa1, 1), true, false},
		"one byte of ours":         {of(1, 0xa1), false, false},
		"ask":                      {of(AskSize, 0xa1, 0x40), false, true},
		"reset":                    {of(ResetSize, 0xa1, 0x45), false, true},
		"last relay kind":          {of(20, 0xa1, 0x4f), false, true},
		"relay kind, later":        {of(20, 0xaf, 0x41), false, true},
		"after the relay's":        {of(20, 0xa1, 0x50), true, false},
	} {
		if got := Forwardable(tt.b); got != tt.forward {
			t.Errorf("%s: forwardable is %t", name, got)
		}
		if got := IsRelay(tt.b); got != tt.ours {
			t.Errorf("%s: relay's is %t", name, got)
		}
		kind, ok := ParseHeader(tt.b)
		if want := tt.ours && tt.b[0] == 0xa1; ok != want || ok && kind != Kind(tt.b[1]) {
			t.Errorf("%s: kind %v, %t", name, kind, ok)
		}
	}
	for kind := discovery.KindHello; kind <= discovery.KindRecord; kind++ {
		if !Forwardable([]byte{0xa0 | discovery.Version, byte(kind), 0, 0}) {
			t.Errorf("%v does not pass", kind)
		}
	}
}

func TestServerAddress(t *testing.T) {
	k := testServer(t, 9).Public()
	for in, want := range map[string]ServerAddress{
		"relay.example.org":                    {"relay.example.org", 3478, ServerPublic{}},
		"relay.example.org:443":                {"relay.example.org", 443, ServerPublic{}},
		"203.0.113.5:3478#" + k.String():       {"203.0.113.5", 3478, k},
		"203.0.113.5#" + k.String():            {"203.0.113.5", 3478, k},
		"[2001:db8::5]:1#" + k.String():        {"2001:db8::5", 1, k},
		"[2001:db8::5]":                        {"2001:db8::5", 3478, ServerPublic{}},
		"2001:DB8:0::5":                        {"2001:db8::5", 3478, ServerPublic{}},
		"localhost:65535":                      {"localhost", 65535, ServerPublic{}},
		"h#" + strings.ToUpper(k.String()):     {"h", 3478, k},
		"[2001:db8:0:0::5]:1#" + k.String():    {"2001:db8::5", 1, k},
		"[::ffff:203.0.113.5]:1#" + k.String(): {"203.0.113.5", 1, k},
	} {
		got, err := ParseServerAddress(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
		if again, err := ParseServerAddress(got.String()); err != nil || again != got {
			t.Errorf("%q writes %q, which reads %+v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{
		"", "#" + k.String(), ":3478", "h:", "h:0", "h:65536", "h:-1", "h:http", "h:1#", "h:1#abc", "h:1#" + k.String() + "a",
		"h:1#" + strings.Repeat("a", 52), "a b", "h\n", "-h", "a..b", "1.2.3.4:5:6", "[2001:db8::5", "2001:db8::5]:1", "0.0.0.0", "224.0.0.1:1",
		"[fe80::1%eth0]:1", strings.Repeat("a", 254), "h:+1", "h:1#" + k.String()[:51] + "9",
	} {
		if got, err := ParseServerAddress(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
	a, ok := ServerAddress{Host: "203.0.113.5", Port: 3478}.AddrPort()
	if _, name := (ServerAddress{Host: "h", Port: 1}).AddrPort(); !ok || name || a != netip.MustParseAddrPort("203.0.113.5:3478") {
		t.Errorf("%v, %t, %t", a, ok, name)
	}
}

func TestServerKeyText(t *testing.T) {
	k := GenerateServer()
	if k.IsZero() || k.Public().IsZero() || len(k.Public().String()) != 52 {
		t.Fatalf("%v", k.Public())
	}
	again, err := ParseServerPrivate(k.Seed())
	if err != nil || again.Public() != k.Public() {
		t.Errorf("%v, %v", again.Public(), err)
	}
	var back ServerPublic
	text, err := k.Public().MarshalText()
	if err != nil || back.UnmarshalText(text) != nil || back != k.Public() {
		t.Errorf("%s, %v", text, err)
	}
	// A key has one spelling: the last character has bits to spare.
	s := []byte(k.Public().String())
	s[51] = "abcdefghijklmnopqrstuvwxyz234567"[(strings.IndexByte("abcdefghijklmnopqrstuvwxyz234567", s[51])+1)%32]
	if got, err := ParseServerPublic(string(s)); err == nil {
		t.Errorf("%s reads %v", s, got)
	}
	for _, seed := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		if _, err := ParseServerPrivate(seed); err == nil {
			t.Errorf("seed %x was taken", seed)
		}
	}
}

func TestSecretsRedact(t *testing.T) {
	client, _ := testSession(t)
	for _, v := range []any{testServer(t, 9), testExchange(t), client, *client} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%+v %#v %x %s", v, v, v, v), log.String(), string(b)} {
			if !strings.Contains(s, "[redacted]") || strings.Contains(s, "0909") || strings.Contains(s, "9 9") {
				t.Errorf("%T prints %s", v, s)
			}
		}
	}
}

// Window against a set that remembers all.
func TestWindow(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var w Window
		taken, highest := map[uint32]bool{}, uint32(0)
		n := uint32(1)
		if seed%2 == 1 {
			n = 1<<32 - 500
		}
		for range 500 {
			n = max(n+rng.Uint32N(5), n)
			try := n - min(rng.Uint32N(90), n)
			if rng.IntN(50) == 0 && n < 1<<32-200 {
				n += 100
			}
			want := try != 0 && !taken[try] && (try > highest || highest-try < 64)
			if got := w.Fresh(try); got != want {
				t.Fatalf("seed %d: %d after %d: fresh is %t", seed, try, highest, got)
			}
			if got := w.Take(try); got != want {
				t.Fatalf("seed %d: %d after %d: taken is %t", seed, try, highest, got)
			}
			if want {
				taken[try], highest = true, max(highest, try)
			}
		}
	}
}

func TestHave(t *testing.T) {
	a, b := keys.NodePublic{1}, keys.NodePublic{2}
	var x, y, z Have
	x.Toggle(a, []byte("1"))
	x.Toggle(b, []byte("1"))
	y.Toggle(b, []byte("1"))
	y.Toggle(a, []byte("1"))
	if x != y || x == z {
		t.Errorf("%x, %x", x, y)
	}
	z.Toggle(a, []byte("1"))
	x.Add(y)
	if x != (Have{}) {
		t.Errorf("%x is not empty", x)
	}
	y.Toggle(b, []byte("1"))
	if y != z {
		t.Errorf("%x, %x", y, z)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for k := KindAsk; k <= KindReset; k++ {
		if seen[k.String()] {
			t.Errorf("%v twice", k)
		}
		seen[k.String()] = true
	}
	for c := CodeCookie; c <= CodeLeaving; c++ {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("%v twice", c)
		}
		seen[c.String()] = true
	}
	if Kind(1).String() != "kind 0x01" || Code(0).String() != "code 0" || Code(200).String() != "code 200" {
		t.Errorf("%v, %v, %v", Kind(1), Code(0), Code(200))
	}
	if (&Error{Code: CodeFull}).Error() != "relay refuses: full" || (&Error{CodeFull, "sorry", 0}).Error() != "relay refuses: full: sorry" {
		t.Error("errors read otherwise")
	}
	if DropReason(nil) != "" || DropReason(fmt.Errorf("x: %w", ErrSeal)) != "seal" || DropReason(fmt.Errorf("x")) != "other" {
		t.Error("drop reasons")
	}
}
