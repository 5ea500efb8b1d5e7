package wire

import (
	"crypto/sha256"

	"github.com/credant/credant/discovery/keys"
)

// Window takes each number of a session once, in whatever order they come,
// unless it lags more than 63 behind the highest (RFC 4303, Section 3.4.3). The
// zero value has taken none.
type Window struct {
	highest uint32
	taken   uint64 // bit i: highest-i
}

// Fresh reports whether n is still to be taken.
func (w *Window) Fresh(n uint32) bool {
	if n == 0 {
		return false
	}
	if n > w.highest {
		return true
	}
	behind := w.highest - n
	return behind < 64 && w.taken&(1<<behind) == 0
}

// Take takes n, once its bearer is proven, and reports whether it was fresh.
func (w *Window) Take(n uint32) bool {
	if !w.Fresh(n) {
		return false
	}
	if n > w.highest {
		// Go shifts by more than 63 to 0.
		w.taken <<= n - w.highest
		w.highest = n
	}
	w.taken |= 1 << (w.highest - n)
	return true
}

// Have sums up which blobs of the others one holds, so that both sides see
// whether they hold the same. The zero value is of none.
type Have [8]byte

// Toggle adds the blob of a node to the sum, or takes it out again.
func (h *Have) Toggle(node keys.NodePublic, blob []byte) {
	d := sha256.New()
	d.Write(node[:])
	d.Write(blob)
	sum := d.Sum(nil)
	for i := range h {
		h[i] ^= sum[i]
	}
}

// Add adds another sum to this one, or takes it out again.
func (h *Have) Add(o Have) {
	for i := range h {
		h[i] ^= o[i]
	}
}
