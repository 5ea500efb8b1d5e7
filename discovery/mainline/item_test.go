package mainline

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// BEP 44, test vectors 1 and 2.
func TestItemVectors(t *testing.T) {
	const key = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"
	for _, c := range []struct{ salt, part, sig, target string }{
		{
			"", "3:seqi1e1:v12:Hello World!",
			"305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff" +
				"1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
			"4a533d47ec9c7d95b1ad75f576cffc641853b750",
		},
		{
			"foobar", "4:salt6:foobar3:seqi1e1:v12:Hello World!",
			"6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d" +
				"df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
			"411eba73b6f087ca51a3795d9c8c938d365e32c1",
		},
	} {
		i := item{seq: 1, v: []byte("12:Hello World!")}
		_, _ = hex.Decode(i.key[:], []byte(key))
		_, _ = hex.Decode(i.sig[:], []byte(c.sig))
		salt := []byte(c.salt)
		if got := signedPart(salt, i.seq, i.v); string(got) != c.part {
			t.Errorf("signed: %q, want %q", got, c.part)
		}
		if !i.verify(salt) {
			t.Errorf("salt %q: the signature does not hold", c.salt)
		}
		if got := mutableTarget(i.key, salt); hex.EncodeToString(got[:]) != c.target {
			t.Errorf("target %x, want %s", got, c.target)
		}
		i.seq++
		if i.verify(salt) {
			t.Errorf("salt %q: the signature holds for another sequence number", c.salt)
		}
	}
}

// The sequence number is the time, and grows with whatever changes, also where the
// clock was set back or a node holds a later one.
func TestPublisherSequence(t *testing.T) {
	value := "one"
	p := newPublisher(Item{Key: itemKey, Salt: "s", Value: func() []byte { return []byte(value) }})
	now := responderStart
	get := func() item {
		t.Helper()
		i, ok := p.current(now)
		if v, _ := i.value(); !ok || string(v) != value || !i.verify([]byte("s")) {
			t.Fatalf("current() = %+v, %t", i, ok)
		}
		return i
	}
	first := get()
	if first.seq != now.Unix() {
		t.Errorf("seq %d, want %d", first.seq, now.Unix())
	}
	now = now.Add(time.Minute)
	if i := get(); i.seq != first.seq {
		t.Errorf("seq %d within a round of puts, want %d", i.seq, first.seq)
	}
	value = "two"
	second := get()
	if second.seq != now.Unix() {
		t.Errorf("seq %d of another value, want %d", second.seq, now.Unix())
	}
	now = now.Add(-24 * time.Hour)
	value = "three"
	if i := get(); i.seq != second.seq+1 {
		t.Errorf("seq %d after the clock was set back, want %d", i.seq, second.seq+1)
	}
	now = now.Add(48 * time.Hour)
	if i := get(); i.seq != now.Unix() {
		t.Errorf("seq %d of a renewal, want %d", i.seq, now.Unix())
	}

	stored := get()
	stored.seq += 1000
	p.stored(&stored) // not signed
	if i := get(); i.seq != now.Unix() {
		t.Errorf("seq %d after a forged answer", i.seq)
	}
	stored.sig = [64]byte(ed25519.Sign(itemKey, signedPart([]byte("s"), stored.seq, stored.v)))
	p.stored(&stored)
	if i := get(); i.seq != stored.seq {
		// Its value may be another one.
		if i.seq != stored.seq+1 {
			t.Errorf("seq %d where a node holds %d", i.seq, stored.seq)
		}
	}

	for _, v := range []string{"", strings.Repeat("v", MaxItemValue+1)} {
		value = v
		if _, ok := p.current(now); ok {
			t.Errorf("a value of %d bytes is put", len(v))
		}
	}
	value = strings.Repeat("v", MaxItemValue)
	if i := get(); len(i.v) != maxItemEncoded {
		t.Errorf("the longest value takes %d bytes", len(i.v))
	}
}

func TestItemHidesItsKey(t *testing.T) {
	i := Item{Key: itemKey, Salt: "s"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "item", i, "pointer", &i)
	b, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	seed := itemKey.Seed()
	for _, s := range []string{fmt.Sprint(i), fmt.Sprintf("%+v %#v %x", i, &i, i), string(b), log.String()} {
		if strings.Contains(s, hex.EncodeToString(seed[:4])) || strings.Contains(s, fmt.Sprint(seed[0], " ", seed[1])) || !strings.Contains(s, "item{") {
			t.Errorf("printed as %s", s)
		}
	}
}

func TestItemIsChecked(t *testing.T) {
	value := func() []byte { return nil }
	for _, i := range []Item{
		{},
		{Key: itemKey[:10], Value: value},
		{Key: itemKey, Salt: strings.Repeat("s", maxSalt+1), Value: value},
		{Key: itemKey},
	} {
		conn := newMemConn(ownAddr)
		if err := New(Config{IPv4: conn, Item: &i}).Run(t.Context()); err == nil {
			t.Errorf("Run with %v", i)
		}
		select {
		case <-conn.closed:
		default:
			t.Error("the socket stays open")
		}
	}
}
