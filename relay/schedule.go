package relay

import "container/heap"

// due is when something is to be looked at again. Its place in the schedule is
// kept in it; the zero due is in none.
type due struct {
	at    int64
	place int // 1 + index
}

// timed is what a schedule holds: an allocation or a node.
type timed interface{ when() *due }

// schedule is a heap of what has a deadline, the nearest first. Deadlines that
// move back often (each packet's) are not moved here: who comes up too early is
// put back by its owner.
type schedule []timed

func (s *schedule) set(t timed, at int64) {
	d := t.when()
	d.at = at
	if d.place == 0 {
		heap.Push(s, t)
		return
	}
	heap.Fix(s, d.place-1)
}

func (s *schedule) remove(t timed) {
	if d := t.when(); d.place != 0 {
		heap.Remove(s, d.place-1)
	}
}

// next is the nearest deadline.
func (s schedule) next() (at int64, ok bool) {
	if len(s) == 0 {
		return 0, false
	}
	return s[0].when().at, true
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].when().at < s[j].when().at }

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].when().place, s[j].when().place = i+1, j+1
}

func (s *schedule) Push(x any) {
	t := x.(timed)
	*s = append(*s, t)
	t.when().place = len(*s)
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	t := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	t.when().place = 0
	return t
}
