package relay

import "math/rand/v2"

// roster is a list from which any element can be drawn or taken out at the same
// cost, however long it is. Each element keeps its position.
type roster[T interface{ position() *int }] []T

func (r *roster[T]) add(t T) {
	*t.position() = len(*r)
	*r = append(*r, t)
}

func (r *roster[T]) remove(t T) {
	list := *r
	last := list[len(list)-1]
	list[*t.position()] = last
	*last.position() = *t.position()
	var none T
	list[len(list)-1] = none
	*r = list[:len(list)-1]
}

// samples is how many a full table looks at to find one that gives way. Whoever
// fills a table owns most of what is in it, and is met in a few draws.
const samples = 24

// draw returns the one that comes last in a sample, of those that may go.
func (r roster[T]) draw(rng *rand.Rand, mayGo func(T) bool, less func(a, b T) bool) (last T, ok bool) {
	for i := range min(samples, len(r)) {
		if len(r) > samples {
			i = rng.IntN(len(r))
		}
		t := r[i]
		if mayGo(t) && (!ok || less(last, t)) {
			last, ok = t, true
		}
	}
	return last, ok
}
