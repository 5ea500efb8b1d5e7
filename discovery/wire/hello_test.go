package wire

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exchange is one whole exchange between a and b, from being what sealed it.
func exchange(t testing.TB, a, b keys.NodePrivate) (steps []Hello, from []keys.NodePrivate) {
	t.Helper()
	sa, sb := sign(t, fullRecord(t, a), a), sign(t, fullRecord(t, b), b)
	txA, txB := [16]byte{1, 2, 3}, [16]byte{4, 5, 6}
	seenA, seenB := netip.MustParseAddrPort("198.51.100.7:51423"), netip.MustParseAddrPort("[2001:db8::2]:4000")
	return []Hello{
		{Step: StepHello, TxA: txA, MaxVersion: 1, From: a.Public(), Age: 5 * time.Second, Signed: sa},
		{Step: StepReply, TxA: txA, TxB: txB, MaxVersion: 1, Observed: seenA, To: a.Public(), From: b.Public(), Signed: sb},
		{Step: StepConfirm, TxA: txA, TxB: txB, MaxVersion: 1, Observed: seenB, To: b.Public(), From: a.Public(), Age: 6 * time.Second, Signed: sa},
		{Step: StepReady, TxA: txA, TxB: txB, MaxVersion: 1, Observed: seenA, To: a.Public(), From: b.Public(), Starts: true},
	}, []keys.NodePrivate{a, b, a, b}
}

func TestHelloExchange(t *testing.T) {
	key, prefix6 := testNetwork(t).HelloKey(), testNetwork(t).Prefix6()
	steps, from := exchange(t, testNode(t, 2), testNode(t, 3))
	for i, want := range steps {
		t.Run(want.Step.String(), func(t *testing.T) {
			sealed, err := SealHello(want, key, from[i])
			if err != nil {
				t.Fatal(err)
			}
			// All steps look alike, so a reply is never longer than its hello.
			if len(sealed) != HelloSize {
				t.Errorf("%d bytes, want %d", len(sealed), HelloSize)
			}
			got, r, err := OpenHello(sealed, key, prefix6)
			if d := cmp.Diff(want, got, compareAddresses); err != nil || d != "" {
				t.Fatalf("OpenHello: %v (-sent +got)\n%s", err, d)
			}
			wantRecord := Record{}
			if want.Step != StepReady {
				wantRecord = fullRecord(t, from[i])
			}
			if d := cmp.Diff(wantRecord, r, compareAddresses); d != "" {
				t.Errorf("record (-sent +got)\n%s", d)
			}
		})
	}
}

// The longest record fits each step that carries one, with IPv6 addresses and
// the longest numbers.
func TestHelloFitsLongestRecord(t *testing.T) {
	a := testNode(t, 2)
	payload := make([]byte, MaxPayload)
	h := Hello{
		Step: StepConfirm, TxA: [16]byte{1}, TxB: [16]byte{1}, MaxVersion: 255,
		Observed: netip.MustParseAddrPort("[2001:db8::2]:65535"), To: testNode(t, 3).Public(),
		Age: codec.Longest, Signed: SignedRecord{Payload: payload},
	}
	sealed, err := SealHello(h, testNetwork(t).HelloKey(), a)
	if err != nil || len(sealed) != HelloSize {
		t.Fatalf("SealHello: %d bytes, %v", len(sealed), err)
	}
	body, err := h.encode(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the longest hello leaves %d bytes to later versions", KindHello.MaxBody()-len(body))
}

func TestHelloAge(t *testing.T) {
	for _, tt := range []struct{ in, want time.Duration }{
		{-time.Hour, 0},
		{0, 0},
		{time.Nanosecond, time.Second},
		{time.Second, time.Second},
		{1500 * time.Millisecond, 2 * time.Second},
		{1 << 62, codec.Longest},
	} {
		if got := codec.NewSeconds(tt.in).Duration(); got != tt.want {
			t.Errorf("an age of %v travels as %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestHelloRefuses(t *testing.T) {
	key, prefix6 := testNetwork(t).HelloKey(), testNetwork(t).Prefix6()
	a, b := testNode(t, 2), testNode(t, 3)
	steps, from := exchange(t, a, b)
	for _, tt := range []struct {
		name   string
		step   Step
		change func(*Hello)
		want   error
	}{
		{"no step", StepHello, func(h *Hello) { h.Step = 0 }, ErrKind},
		{"a fifth step", StepHello, func(h *Hello) { h.Step = 5 }, ErrKind},
		{"hello without an id", StepHello, func(h *Hello) { h.TxA = [16]byte{} }, ErrMissing},
		{"hello without a record", StepHello, func(h *Hello) { h.Signed = SignedRecord{} }, ErrMissing},
		{"hello with a second id", StepHello, func(h *Hello) { h.TxB = [16]byte{1} }, ErrBound},
		{"hello to someone", StepHello, func(h *Hello) { h.To = b.Public() }, ErrBound},
		{"reply without a second id", StepReply, func(h *Hello) { h.TxB = [16]byte{} }, ErrMissing},
		{"reply to nobody", StepReply, func(h *Hello) { h.To = keys.NodePublic{} }, ErrMissing},
		{"reply that saw nothing", StepReply, func(h *Hello) { h.Observed = netip.AddrPort{} }, ErrMissing},
		{"confirm without a record", StepConfirm, func(h *Hello) { h.Signed = SignedRecord{} }, ErrMissing},
		{"confirm that starts", StepConfirm, func(h *Hello) { h.Starts = true }, ErrBound},
		{"ready with a record", StepReady, func(h *Hello) { h.Signed = steps[1].Signed }, ErrBound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := steps[tt.step-1]
			tt.change(&h)
			if _, err := SealHello(h, key, from[tt.step-1]); !errors.Is(err, tt.want) {
				t.Errorf("SealHello: %v, want %v", err, tt.want)
			}
			if err := parseForged(t, h, from[tt.step-1]); !errors.Is(err, tt.want) {
				t.Errorf("parseHello: %v, want %v", err, tt.want)
			}
		})
	}

	t.Run("signed by another", func(t *testing.T) {
		for _, h := range steps[1:3] {
			sealed, err := SealHello(h, key, testNode(t, 9))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := OpenHello(sealed, key, prefix6); !errors.Is(err, ErrSignature) {
				t.Errorf("OpenHello of %v: %v", h.Step, err)
			}
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		for i, h := range steps[1:] {
			body, err := h.encode(from[i+1])
			if err != nil {
				t.Fatal(err)
			}
			var s signedHelloCBOR
			if err := decoder.Decode(body, &s); err != nil {
				t.Fatal(err)
			}
			s.Signature = codec.Bytes64{}
			if _, _, err := parseHello(codec.Encode(s), prefix6); !errors.Is(err, ErrSignature) {
				t.Errorf("parseHello of %v: %v", h.Step, err)
			}
		}
	})
	t.Run("another network", func(t *testing.T) {
		sealed, err := SealHello(steps[0], key, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenHello(sealed, repeated(9), prefix6); !errors.Is(err, ErrSeal) {
			t.Errorf("OpenHello: %v", err)
		}
	})
	t.Run("a record that does not hold", func(t *testing.T) {
		h := steps[0]
		h.Signed.Signature[0] ^= 1
		sealed, err := SealHello(h, key, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenHello(sealed, key, prefix6); !errors.Is(err, ErrSignature) {
			t.Errorf("OpenHello: %v", err)
		}
	})
}

// parseForged encodes and signs h as it is, and parses that.
func parseForged(t *testing.T, h Hello, node keys.NodePrivate) error {
	t.Helper()
	c := helloCBOR{
		Step: uint8(h.Step), TxA: h.TxA, TxB: h.TxB, MaxVersion: h.MaxVersion, From: codec.Bytes32(node.Public()),
		To: codec.Bytes32(h.To), Observed: codec.NewAddrPort(h.Observed), Age: codec.NewSeconds(h.Age), Starts: h.Starts,
	}
	if !h.Signed.IsZero() {
		signed := h.Signed.encode()
		c.Record = &signed
	}
	_, _, err := parseHello(signHelloContent(h.Step, codec.Encode(c), node), testNetwork(t).Prefix6())
	return err
}

// A sender that names itself in two ways must mean one node.
func TestHelloSenderIsTheRecords(t *testing.T) {
	a, b := testNode(t, 2), testNode(t, 3)
	steps, _ := exchange(t, a, b)
	signed := steps[0].Signed.encode()
	content := codec.Encode(helloCBOR{Step: uint8(StepHello), TxA: codec.Bytes16{1}, From: codec.Bytes32(b.Public()), Record: &signed})
	if _, _, err := parseHello(codec.Encode(signedHelloCBOR{Content: content}), testNetwork(t).Prefix6()); !errors.Is(err, ErrSignature) {
		t.Errorf("parseHello: %v", err)
	}
}

func TestStepNames(t *testing.T) {
	var got []string
	for s := range Step(6) {
		got = append(got, s.String())
	}
	if s := strings.Join(got, " "); s != "unknown hello reply confirm ready unknown" {
		t.Errorf("steps are %s", s)
	}
}

// What a member's flood costs: two signatures a reply, one a hello; an
// outsider's ends at the seal.
func BenchmarkOpenHello(b *testing.B) {
	key, prefix6 := testNetwork(b).HelloKey(), testNetwork(b).Prefix6()
	steps, from := exchange(b, testNode(b, 2), testNode(b, 3))
	for i, h := range steps {
		sealed, err := SealHello(h, key, from[i])
		if err != nil {
			b.Fatal(err)
		}
		b.Run("step="+h.Step.String(), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := OpenHello(sealed, key, prefix6); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	garbage := make([]byte, HelloSize)
	garbage[0], garbage[1] = magic|Version, byte(KindHello)
	b.Run("step=outsider", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := OpenHello(garbage, key, prefix6); err == nil {
				b.Fatal("opened")
			}
		}
	})
}
