package keys

import (
	"crypto/ed25519"
	"math/big"
	"testing"
)

// The curve -x²+y² = 1+dx²y² of RFC 8032, Section 5.1, slow and obvious.
var (
	prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	curve = mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), prime)))
)

type point struct{ x, y *big.Int }

func mod(n *big.Int) *big.Int { return new(big.Int).Mod(n, prime) }

func multiply(factors ...*big.Int) *big.Int {
	p := big.NewInt(1)
	for _, f := range factors {
		p = mod(new(big.Int).Mul(p, f))
	}
	return p
}

func (p point) double() point {
	one, xx, yy := big.NewInt(1), multiply(p.x, p.x), multiply(p.y, p.y)
	k := multiply(curve, xx, yy)
	plus, minus := mod(new(big.Int).Add(one, k)), mod(new(big.Int).Sub(one, k))
	return point{
		multiply(big.NewInt(2), p.x, p.y, new(big.Int).ModInverse(plus, prime)),
		multiply(new(big.Int).Add(xx, yy), new(big.Int).ModInverse(minus, prime)),
	}
}

// decode is RFC 8032, Section 5.1.3, but for its refusal of y beyond the prime and
// of a negative zero.
func decode(key [32]byte) (point, bool) {
	b := make([]byte, 32)
	for i := range key {
		b[31-i] = key[i]
	}
	b[0] &= 0x7f
	y := mod(new(big.Int).SetBytes(b))
	yy := multiply(y, y)
	xx := multiply(new(big.Int).Sub(yy, big.NewInt(1)),
		new(big.Int).ModInverse(new(big.Int).Add(multiply(curve, yy), big.NewInt(1)), prime))
	x := new(big.Int).ModSqrt(xx, prime)
	if x == nil {
		return point{}, false
	}
	if x.Bit(0) != uint(key[31]>>7) {
		x = mod(new(big.Int).Neg(x))
	}
	return point{x, y}, true
}

// vanishes says that eight times the point is the neutral element.
func (p point) vanishes() bool {
	p = p.double().double().double()
	return p.x.Sign() == 0 && p.y.Cmp(big.NewInt(1)) == 0
}

// encodings are all ways to write y, with either sign.
func encodings(y *big.Int) (all [][32]byte) {
	for n := y; n.BitLen() <= 255; n = new(big.Int).Add(n, prime) {
		var key [32]byte
		b := n.FillBytes(make([]byte, 32))
		for i := range key {
			key[i] = b[31-i]
		}
		all = append(all, key)
		key[31] |= 0x80
		all = append(all, key)
	}
	return all
}

// Eight times each of the listed points is nothing, and there are no others: of
// order 8 there are four points, which are ±x, ±y of any of them, and twice such a
// point is of order 4, and so on down to the neutral element.
func TestSmallOrder(t *testing.T) {
	of8, ok := decode(smallOrderY[3])
	if !ok || of8.double().double().double().y.Cmp(big.NewInt(1)) != 0 || of8.double().double().y.Cmp(big.NewInt(1)) == 0 {
		t.Fatal("no point of order 8")
	}
	found := map[[32]byte]bool{}
	for _, p := range []point{of8, of8.double(), of8.double().double(), of8.double().double().double()} {
		for _, y := range []*big.Int{p.y, mod(new(big.Int).Neg(p.y))} {
			for _, key := range encodings(y) {
				found[key] = true
				if p, ok := decode(key); !ok || !p.vanishes() {
					t.Errorf("%x is not of small order", key)
				}
				if !SmallOrder(key) {
					t.Errorf("%x is not refused", key)
				}
			}
		}
	}
	if len(found) != 2*len(smallOrderY) {
		t.Errorf("%d encodings found, %d listed", len(found), 2*len(smallOrderY))
	}
	for i := range byte(100) {
		key := [32]byte(testNode(t, i+1).Public())
		if p, ok := decode(key); !ok || p.vanishes() || SmallOrder(key) {
			t.Errorf("the honest key %x is refused", key)
		}
	}
}

// forge makes a signature of key over msg without a private key. It works for one
// message in eight at worst, so it is tried on several.
func forge(key [32]byte, as func(i byte) []byte) (msg []byte, sig [64]byte, ok bool) {
	for i := range byte(255) {
		msg, sig = as(i), [64]byte{1} // R is the neutral element, S is 0
		if ed25519.Verify(key[:], msg, sig[:]) {
			return msg, sig, true
		}
	}
	return nil, sig, false
}

// What Go's Ed25519 takes for a signature of such a key, made by nobody, is none
// here.
func TestSmallOrderKeysSignNothing(t *testing.T) {
	for _, key := range smallOrderY {
		for _, sign := range []byte{0, 0x80} {
			key[31] |= sign
			msg, sig, ok := forge(key, func(i byte) []byte { return []byte{i} })
			if !ok {
				t.Errorf("no forgery for %x: is it still needed to refuse it?", key)
			}
			if NodePublic(key).Verify(msg, sig) || NetworkID(key).Verify(msg, sig) {
				t.Errorf("a forged signature of %x holds", key)
			}
			if k, err := ParseNodePublic(NodePublic(key).String()); err == nil {
				t.Errorf("node key %v is taken", k)
			}
			if k, err := ParseNetworkID(NetworkID(key).String()); err == nil {
				t.Errorf("network id %v is taken", k)
			}
		}
	}
}
