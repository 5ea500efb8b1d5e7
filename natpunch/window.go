package natpunch

// window refuses a ping that was seen before, or that is too old to tell, as
// RFC 6479 does for IPsec. Pings carry numbers that only grow; the zero window
// has seen nothing, and no ping has number 0.
type window struct {
	highest uint64
	seen    uint64 // bit i: highest-i was seen
}

const windowSize = 64

// accept reports whether n is new, and remembers it.
func (w *window) accept(n uint64) bool {
	switch {
	case n == 0:
		return false
	case n > w.highest:
		if shift := n - w.highest; shift < windowSize {
			w.seen = w.seen<<shift | 1
		} else {
			w.seen = 1
		}
		w.highest = n
		return true
	case w.highest-n >= windowSize:
		return false
	default:
		bit := uint64(1) << (w.highest - n)
		fresh := w.seen&bit == 0
		w.seen |= bit
		return fresh
	}
}
