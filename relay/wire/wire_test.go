package wire

import (
	"bytes"
	"testing"

	"github.com/credant/credant/discovery/keys"
)

func repeated(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func testNetwork(t testing.TB, b byte) keys.NetworkKey {
	t.Helper()
	seed := repeated(b)
	k, err := keys.ParseNetworkKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testNode(t testing.TB, b byte) keys.NodePrivate {
	t.Helper()
	seed := repeated(b)
	k, err := keys.ParseNodePrivate(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testServer(t testing.TB, b byte) ServerPrivate {
	t.Helper()
	seed := repeated(b)
	k, err := ParseServerPrivate(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testSigner(t testing.TB) Signer {
	n := testNetwork(t, 1)
	return Signer{n.ID(), n.SignID, testNode(t, 2)}
}

func testCookie() (c Cookie) {
	for i := range c {
		c[i] = byte(i + 1)
	}
	return c
}

// testSession returns both halves of a session.
func testSession(t testing.TB) (client, server *Session) {
	t.Helper()
	x := NewExchange(testServer(t, 9))
	seed := repeated(5)
	client, err := NewSession(x.Server(), x.Key(), bytes.NewReader(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = x.Session(client.ClientKey()); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// The largest of all that may be said fits a frame.
func TestLargestFits(t *testing.T) {
	client, server := testSession(t)
	have := Have(bytes.Repeat([]byte{0xff}, 8))
	largest := Request{Number: 1<<32 - 1, Register: &Register{bytes.Repeat([]byte{0xff}, MaxBlob), have}}
	b, err := client.SealRequest(testCookie(), 65535, largest, testSigner(t))
	if err != nil || len(b) != MaxFrame {
		t.Fatalf("largest registration is %d bytes, %v", len(b), err)
	}
	r, err := server.OpenRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(65535); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(r.Register.Blob, largest.Register.Blob) || r.Register.Have != have {
		t.Error("the blob changed")
	}
}
