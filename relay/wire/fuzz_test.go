package wire

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/wire/codec"
)

// Sealed bytes never get past the AEAD, so each parser is fuzzed on what lies
// behind it.

// checkReason holds every refusal to a reason by which it can be counted.
func checkReason(t *testing.T, err error) {
	t.Helper()
	if r := DropReason(err); r == "other" || r == "" {
		t.Errorf("no reason for %v", err)
	}
}

// What comes to a relay or a client from anybody.
func FuzzFrame(f *testing.F) {
	x := testExchange(f)
	client, server := testSession(f)
	tx := TransactionID{1}
	f.Add(AppendAsk(nil, tx))
	f.Add(x.AppendChallenge(nil, tx, testCookie(), testResponses(f)[0].Registered.Addrs[1]))
	f.Add(AppendReset(nil, make([]byte, 32)))
	b, err := client.SealRequest(testCookie(), 3478, testRequests(f)[4], testSigner(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	if b, err = server.SealResponse(testResponses(f)[6]); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = server.SealPush(testPushes(f)[1]); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte{0xa1})
	f.Add([]byte{0xa2, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, ok := ParseHeader(b)
		if IsRelay(b) && Forwardable(b) || ok && !IsRelay(b) {
			t.Errorf("%x is both, or neither", b)
		}
		if Forwardable(b) && len(b) >= 4 && b[0] <= 4 && len(b) < 32 {
			t.Errorf("%x passes", b)
		}
		if n := len(AppendReset(nil, b)); n >= max(len(b), 1) {
			t.Errorf("a reset of %d for %d", n, len(b))
		}
		ask, err := ParseAsk(b)
		if err != nil {
			checkReason(t, err)
		} else if !bytes.Equal(AppendAsk(nil, ask), b) {
			t.Errorf("ask %x", b)
		}
		if id, err := ChallengeID(b); err == nil {
			c, err := OpenChallenge(b, id, ServerPublic{})
			if err != nil {
				checkReason(t, err)
			} else if !codec.ValidEndpoint(c.Observed) || c.Observed.Addr().Is4In6() {
				t.Errorf("observed %v", c.Observed)
			}
		}
		for _, err := range []error{
			func() error { _, err := server.OpenRequest(b); return err }(),
			func() error { _, err := client.OpenResponse(b); return err }(),
			func() error { _, err := client.OpenPush(b); return err }(),
			func() error { _, err := ParseReset(b); return err }(),
		} {
			if err != nil {
				checkReason(t, err)
			} else if !ok || kind < KindRequest {
				t.Errorf("%x opens", b)
			}
		}
	})
}

// The content of a request, signed by a member who may write anything. What is
// taken can be said again, and then means the same.
func FuzzRequest(f *testing.F) {
	client, server := testSession(f)
	by := testSigner(f)
	for _, r := range testRequests(f) {
		if r.Refresh == nil {
			r.Network, r.Node = by.Network, by.Node.Public()
		}
		f.Add(codec.Encode(r.encode()), r.Refresh == nil)
	}
	f.Add([]byte{0xa0}, true)
	f.Fuzz(func(t *testing.T, content []byte, sign bool) {
		r, err := server.parseRequest(testCookie(), client.requestBody(content, testCookie(), 3478, by, sign))
		if err != nil {
			checkReason(t, err)
			return
		}
		if err := r.check(); err != nil {
			t.Errorf("parsed, and does not hold: %v", err)
		}
		if err := r.Verify(3478); err != nil {
			if r.Network == by.Network && r.Node == by.Node.Public() {
				t.Errorf("signed, and %v", err)
			}
			return
		}
		if (r.Refresh == nil) != sign {
			t.Errorf("%s, signed %t", r.Operation(), sign)
		}
		b, err := client.SealRequest(testCookie(), 3478, r, by)
		if err != nil {
			t.Fatalf("seal %+v again: %v", r, err)
		}
		again, err := server.OpenRequest(b)
		if d := cmp.Diff(r, again, ignoreProof); err != nil || d != "" {
			t.Errorf("opened again: %v\n%s", err, d)
		}
	})
}

// The outer layer of a request, as any client may write it.
func FuzzRequestBody(f *testing.F) {
	client, server := testSession(f)
	for _, r := range testRequests(f)[:5] {
		b, err := client.SealRequest(testCookie(), 3478, r, testSigner(f))
		if err != nil {
			f.Fatal(err)
		}
		body, err := codec.Open(b, requestHeadSize, &client.request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := server.parseRequest(testCookie(), body)
		if err != nil {
			checkReason(t, err)
			return
		}
		if err := r.Verify(3478); err != nil {
			checkReason(t, err)
		}
	})
}

func FuzzResponse(f *testing.F) {
	client, server := testSession(f)
	for _, r := range testResponses(f) {
		f.Add(codec.Encode(r.encode()))
	}
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseResponse(body)
		if err != nil {
			checkReason(t, err)
			return
		}
		b, err := server.SealResponse(r)
		if err != nil {
			t.Fatalf("seal %+v again: %v", r, err)
		}
		again, err := client.OpenResponse(b)
		if d := cmp.Diff(r, again, compareAddrs); err != nil || d != "" {
			t.Errorf("opened again: %v\n%s", err, d)
		}
	})
}

func FuzzPush(f *testing.F) {
	client, server := testSession(f)
	for _, p := range testPushes(f) {
		f.Add(codec.Encode(p.encode()))
	}
	f.Add(codec.Encode(map[int]any{1: 9, 50: "later"}))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePush(body)
		if err != nil {
			checkReason(t, err)
			return
		}
		if p.events() == 0 {
			return // of a later version
		}
		b, err := server.SealPush(p)
		if err != nil {
			t.Fatalf("seal %+v again: %v", p, err)
		}
		again, err := client.OpenPush(b)
		if d := cmp.Diff(p, again); err != nil || d != "" {
			t.Errorf("opened again: %v\n%s", err, d)
		}
	})
}

// What reads writes itself, and reads the same again.
func FuzzServerAddress(f *testing.F) {
	k := testServer(f, 9).Public().String()
	for _, s := range []string{"h", "h:1", "203.0.113.5:3478#" + k, "[2001:db8::5]:1#" + k, "2001:db8::5", "[::1]", "h:#", "#", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseServerAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseServerAddress(a.String()); err != nil || again != a {
			t.Errorf("%q reads %+v, writes %q, which reads %+v, %v", s, a, a, again, err)
		}
	})
}
