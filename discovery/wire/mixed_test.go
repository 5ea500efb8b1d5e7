package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// A node of version 2, as far as one of version 1 can tell: it offers version
// 2, adds fields everywhere, names a candidate type, a NAT behaviour and a
// signal that version 1 has never heard of, and greets in version 1, the lowest
// that it supports.
type nodeV2 struct{ key keys.NodePrivate }

func (n nodeV2) record(t *testing.T) SignedRecord {
	t.Helper()
	fields := fields(t, testRecord(t, n.key).encode())
	fields[10] = append(fields[10].([]any), map[int]any{1: 9, 2: []byte{192, 0, 2, 1, 0, 7}, 3: "quic"})
	fields[11] = map[int]any{1: 7, 2: 1, 20: true}
	fields[15] = 2
	fields[30] = "a field of version 2"
	fields[31] = map[int]any{1: []int{1, 2, 3}}
	payload := codec.Encode(fields)
	return SignedRecord{payload, n.key.Sign(append([]byte(signRecord), payload...))}
}

func (n nodeV2) hello(t *testing.T, h Hello) []byte {
	t.Helper()
	body, err := h.encode(n.key)
	if err != nil {
		t.Fatal(err)
	}
	content := fields(t, fields(t, body)[1].([]byte))
	content[4] = 2
	content[20] = map[int]any{1: "what version 2 says at once"}
	return signHelloContent(h.Step, codec.Encode(content), n.key)
}

// fields is a message as the map that it is.
func fields(t *testing.T, b []byte) map[uint64]any {
	t.Helper()
	var m map[uint64]any
	if err := decoder.Decode(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMixedVersions(t *testing.T) {
	network := testNetwork(t)
	prefix6 := network.Prefix6()
	v1, v2 := testNode(t, 2), nodeV2{testNode(t, 3)}
	signed := v2.record(t)

	t.Run("version 1 reads a record of version 2", func(t *testing.T) {
		got, err := signed.Verify(prefix6)
		if err != nil {
			t.Fatal(err)
		}
		want := testRecord(t, v2.key)
		want.MaxVersion = 2
		want.NAT4 = NATBehavior{Filtering: EndpointIndependent} // and an unknown mapping
		if d := cmp.Diff(want, got, compareAddresses); d != "" {
			t.Errorf("record (-want +got)\n%s", d)
		}
		if v := Negotiate(MaxVersion, got.MaxVersion); v != 1 {
			t.Errorf("negotiated version %d, want 1", v)
		}
	})

	t.Run("version 1 passes it on whole", func(t *testing.T) {
		a, b := testPairs(t)
		sealed, err := SealSignal(&a, Signal{Introduce: &Introduce{Signed: signed}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenSignal(&b, sealed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSigned(s.Introduce.Signed.Marshal())
		if err != nil || !bytes.Equal(again.Payload, signed.Payload) || again.Signature != signed.Signature {
			t.Fatalf("passed on, the record is %x (%v), want %x", again.Payload, err, signed.Payload)
		}
		if got := fields(t, again.Payload)[30]; got != "a field of version 2" {
			t.Errorf("its unknown field is %v", got)
		}
	})

	t.Run("they greet each other", func(t *testing.T) {
		// Version 2 says hello, replies, confirms and is ready; version 1 follows.
		steps, _ := exchange(t, v2.key, v1)
		replies, _ := exchange(t, v1, v2.key)
		for _, h := range []Hello{steps[0], replies[1], steps[2], replies[3]} {
			if h.Step != StepReady {
				h.Signed = signed
			}
			sealed, err := Seal(KindHello, network.HelloKey(), v2.hello(t, h))
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := OpenHello(sealed, network.HelloKey(), prefix6)
			if err != nil {
				t.Fatalf("OpenHello of a %v of version 2: %v", h.Step, err)
			}
			if got.From != v2.key.Public() || Negotiate(MaxVersion, got.MaxVersion) != 1 {
				t.Errorf("%v from %v offers %d", h.Step, got.From.ID(), got.MaxVersion)
			}
		}
	})

	t.Run("a field of version 2 is signed too", func(t *testing.T) {
		steps, _ := exchange(t, v1, v2.key)
		body := v2.hello(t, steps[1])
		changed := bytes.Replace(body, []byte("at once"), []byte("at last"), 1)
		if _, _, err := parseHello(changed, prefix6); bytes.Equal(body, changed) || !errors.Is(err, ErrSignature) {
			t.Errorf("changed on the way: %v", err)
		}
	})

	t.Run("what only version 2 speaks is dropped by name", func(t *testing.T) {
		sealed, err := Seal(KindHello, network.HelloKey(), nil)
		if err != nil {
			t.Fatal(err)
		}
		sealed[0] = magic | 2
		if _, _, err := OpenHello(sealed, network.HelloKey(), prefix6); DropReason(err) != "version" {
			t.Errorf("an envelope of version 2: %v", err)
		}
		if _, err := parseSignal(codec.Encode(map[int]any{9: map[int]any{1: "new"}})); DropReason(err) != "kind" {
			t.Errorf("a signal of version 2: %v", err)
		}
	})
}
