package mainline

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// BEP 44: a value takes less than 1,000 bytes encoded, a salt at most 64.
const (
	maxItemEncoded = 999
	maxSalt        = 64
	// MaxItemValue is the longest value of an Item.
	MaxItemValue = maxItemEncoded - len("995:")
	// resignAfter lets the puts of one round carry one sequence number.
	resignAfter = 30 * time.Minute
)

// An Item is a value that this host keeps stored in the DHT, signed by its key (BEP
// 44). It is put anew each hour, and when the value changes.
type Item struct {
	Key  ed25519.PrivateKey
	Salt string // at most 64 bytes
	// Value returns up to MaxItemValue bytes, or nil when there is nothing to put. It is
	// looked at each second, from any goroutine, and must not block.
	Value func() []byte
}

// Format implements fmt.Formatter: it hides the key.
func (i Item) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "item{%q}", i.Salt) }

// LogValue implements slog.LogValuer likewise.
func (i Item) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }

// MarshalJSON implements json.Marshaler likewise.
func (i Item) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(i)) }

// An item is one BEP 44 item as nodes keep it.
type item struct {
	key [ed25519.PublicKeySize]byte // zero: immutable
	sig [ed25519.SignatureSize]byte
	seq int64
	v   []byte // bencoded
}

// value returns the string that v is.
func (i *item) value() ([]byte, bool) {
	s, n := parseString(i.v)
	return s, n > 0 && n == len(i.v)
}

func (i *item) mutable() bool { return i != nil && i.key != [ed25519.PublicKeySize]byte{} }

func (i *item) verify(salt []byte) bool {
	return ed25519.Verify(i.key[:], signedPart(salt, i.seq, i.v), i.sig[:])
}

// signedPart is what an item's signature is over (BEP 44, Signature verification).
func signedPart(salt []byte, seq int64, v []byte) []byte {
	var b []byte
	if len(salt) > 0 {
		b = appendString(append(b, "4:salt"...), salt)
	}
	b = append(strconv.AppendInt(append(b, "3:seqi"...), seq, 10), "e1:v"...)
	return append(b, v...)
}

// mutableTarget is where a mutable item lies.
func mutableTarget(key [ed25519.PublicKeySize]byte, salt []byte) infoHash {
	return sha1.Sum(append(key[:len(key):len(key)], salt...))
}

// immutableTarget is where the bencoded v lies.
func immutableTarget(v []byte) infoHash { return sha1.Sum(v) }

// A publisher signs what an Item says, for both families.
type publisher struct {
	item   Item
	key    [ed25519.PublicKeySize]byte
	target infoHash

	mu     sync.Mutex
	last   item
	signed time.Time
	newest int64 // sequence number that some node holds
}

func newPublisher(i Item) *publisher {
	p := &publisher{item: i}
	if len(i.Key) == ed25519.PrivateKeySize {
		p.key = [ed25519.PublicKeySize]byte(i.Key.Public().(ed25519.PublicKey))
	}
	p.target = mutableTarget(p.key, []byte(i.Salt))
	return p
}

// check says why the item cannot be put at all.
func (p *publisher) check() error {
	switch {
	case len(p.item.Key) != ed25519.PrivateKeySize:
		return fmt.Errorf("put item: a key of %d bytes, want %d", len(p.item.Key), ed25519.PrivateKeySize)
	case len(p.item.Salt) > maxSalt:
		return fmt.Errorf("put item: a salt of %d bytes, want at most %d", len(p.item.Salt), maxSalt)
	case p.item.Value == nil:
		return errors.New("put item: no Value")
	}
	return nil
}

// current returns the item to put now; false where there is nothing to put.
func (p *publisher) current(now time.Time) (item, bool) {
	value := p.item.Value()
	if len(value) == 0 || len(value) > MaxItemValue {
		return item{}, false
	}
	v := appendString(nil, value)
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Equal(v, p.last.v) && now.Sub(p.signed).Abs() < resignAfter && p.last.seq >= p.newest {
		return p.last, true
	}
	// A clock that was set back must not make nodes refuse what is new.
	seq := max(now.Unix(), p.last.seq+1, p.newest+1)
	sig := ed25519.Sign(p.item.Key, signedPart([]byte(p.item.Salt), seq, v))
	p.last = item{key: p.key, sig: [ed25519.SignatureSize]byte(sig), seq: seq, v: v}
	p.signed = now
	return p.last, true
}

// stored takes in what a node holds under the item's target.
func (p *publisher) stored(i *item) {
	if i == nil || i.key != p.key || !i.verify([]byte(p.item.Salt)) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest = max(p.newest, i.seq)
}

// value is what is to be put now, "" for nothing.
func (p *publisher) value() string {
	if v := p.item.Value(); len(v) <= MaxItemValue {
		return string(v)
	}
	return ""
}
