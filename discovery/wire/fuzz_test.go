package wire

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Sealed bytes never get past the AEAD, so each parser is fuzzed on what lies
// behind it, signed anew where a signature would stop the fuzzer.

// What opens is what a sender sealed: sealing it again with its nonce gives the
// same bytes.
func FuzzOpen(f *testing.F) {
	key := repeated(7)
	for kind := KindHello; kind <= KindRecord; kind++ {
		b, err := Seal(kind, key, []byte("body"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{})
	f.Add([]byte{0xa1})
	f.Add([]byte{0xa2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, kind, ok := ParseHeader(b)
		if ok != (len(b) >= 2 && b[0]>>4 == 0xa) {
			t.Errorf("ParseHeader is %t", ok)
		}
		body, err := Open(kind, key, b)
		if err != nil {
			checkReason(t, err)
			return
		}
		again, err := seal(kind, key, [24]byte(b[2:]), body, len(b))
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("sealed again: %x, %v", again, err)
		}
	})
}

func FuzzParseSigned(f *testing.F) {
	node := testNode(f, 2)
	f.Add(sign(f, testRecord(f, node), node).Marshal())
	f.Add([]byte{0xa0})
	f.Add(mustHex(f, "a3014101186400186400"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSigned(b)
		if err != nil {
			checkReason(t, err)
			return
		}
		again, err := ParseSigned(s.Marshal())
		if d := cmp.Diff(s, again); err != nil || d != "" {
			t.Errorf("parsed again: %v\n%s", err, d)
		}
	})
}

// A record that verifies is within every bound, and says the same once it was
// encoded by this program.
func FuzzRecord(f *testing.F) {
	node, prefix6 := testNode(f, 2), testNetwork(f).Prefix6()
	f.Add(testRecord(f, node).encode())
	f.Add(fullRecord(f, node).encode())
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		s := SignedRecord{payload, node.Sign(append([]byte(signRecord), payload...))}
		r, err := s.Verify(prefix6)
		if err != nil {
			checkReason(t, err)
			return
		}
		if len(r.Candidates) > MaxCandidates || len(r.Routes) > MaxRoutes || len(r.Addresses) > MaxAddresses ||
			len(r.Relays) > MaxRelays || len(r.Capabilities) > MaxCapabilities || r.Lifetime > MaxLifetime || r.Node != node.Public() {
			t.Errorf("out of bounds: %+v", r)
		}
		again, err := Sign(r, node)
		if err != nil {
			t.Fatalf("sign %+v again: %v", r, err)
		}
		back, err := again.Verify(prefix6)
		if d := cmp.Diff(r, back, compareAddresses); err != nil || d != "" {
			t.Errorf("verified again: %v\n%s", err, d)
		}
	})
}

// The content of a hello, signed by a member who may write anything.
func FuzzHello(f *testing.F) {
	a, b, prefix6 := testNode(f, 2), testNode(f, 3), testNetwork(f).Prefix6()
	steps, from := exchange(f, a, b)
	for i, h := range steps {
		body, err := h.encode(from[i])
		if err != nil {
			f.Fatal(err)
		}
		var s signedHelloCBOR
		if err := decoder.Decode(body, &s); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(s.Content), from[i] == b)
	}
	f.Add([]byte{0xa0}, false)
	f.Fuzz(func(t *testing.T, content []byte, second bool) {
		node := a
		if second {
			node = b
		}
		h, r, err := parseHello(signHelloContent(StepReply, content, node), prefix6)
		if err != nil {
			checkReason(t, err)
			return
		}
		if err := h.check(); err != nil {
			t.Errorf("parsed, and does not hold: %v", err)
		}
		if h.Step != StepHello && h.From != node.Public() {
			t.Errorf("%v of %s, signed by %s", h.Step, h.From.ID(), node.Public().ID())
		}
		if h.Step != StepReady && r.Node != h.From {
			t.Errorf("%v of %s with the record of %s", h.Step, h.From.ID(), r.Node.ID())
		}
	})
}

// The outer layer of a hello, as any holder of the passphrase may write it.
func FuzzHelloBody(f *testing.F) {
	steps, from := exchange(f, testNode(f, 2), testNode(f, 3))
	for i, h := range steps {
		body, err := h.encode(from[i])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte{0xa0})
	prefix6 := testNetwork(f).Prefix6()
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, _, err := parseHello(body, prefix6); err != nil {
			checkReason(t, err)
		}
	})
}

func FuzzBeacon(f *testing.F) {
	f.Add(Beacon{testNode(f, 2).Public(), 51423, 7, true}.encode())
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := parseBeacon(body)
		if err != nil {
			checkReason(t, err)
			return
		}
		if again, err := parseBeacon(b.encode()); err != nil || again != b {
			t.Errorf("parsed again: %+v, %v", again, err)
		}
	})
}

func FuzzSignal(f *testing.F) {
	node := testNode(f, 2)
	signed := sign(f, testRecord(f, node), node)
	f.Add(Signal{Introduce: &Introduce{Age: 1e9, Signed: signed}}.encode())
	f.Add(Signal{Forward: &Forward{node.Public(), []byte{1}}}.encode())
	f.Add(Signal{Forwarded: &Forwarded{node.Public(), []byte{1}}}.encode())
	f.Add(Signal{Digest: &Digest{Sums: []uint64{1, 2}}}.encode())
	f.Add(Signal{Digest: &Digest{From: 1, Last: 3, Entries: []Entry{{2, 7}}}}.encode())
	f.Add(Signal{Digest: &Digest{Entries: manyEntries(MaxEntries)}}.encode())
	f.Add(Signal{Want: &Want{[]Entry{{2, 0}, {5, 7}}}}.encode())
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := parseSignal(body)
		if err != nil {
			checkReason(t, err)
			return
		}
		again, err := parseSignal(s.encode())
		if d := cmp.Diff(s, again, compareAddresses); err != nil || d != "" {
			t.Errorf("parsed again: %v\n%s", err, d)
		}
	})
}

// checkReason holds every refusal to a reason by which it can be counted.
func checkReason(t *testing.T, err error) {
	t.Helper()
	if r := DropReason(err); r == "other" || r == "" {
		t.Errorf("no reason for %v", err)
	}
}
