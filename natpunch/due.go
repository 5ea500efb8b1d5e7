package natpunch

import "container/heap"

func (a *Agent) reschedule(c *checkList) {
	due, ok := c.nextDue()
	switch {
	case a.peers[c.node] != c:
	case !ok && c.index >= 0:
		heap.Remove(&a.due, c.index)
	case !ok:
	case c.index < 0:
		c.due = due
		heap.Push(&a.due, c)
	default:
		c.due = due
		heap.Fix(&a.due, c.index)
	}
}

// dueHeap orders check lists by what is due first.
type dueHeap []*checkList

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	c := x.(*checkList)
	c.index = len(*h)
	*h = append(*h, c)
}

func (h *dueHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	c.index = -1
	return c
}
