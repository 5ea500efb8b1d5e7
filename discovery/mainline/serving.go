package mainline

// Serving is what a serving node holds.
type Serving struct {
	Nodes int // in the routing table
	Peers int // announced by others
	Items int // put by others
	// Answers counts since the start.
	Answers uint64
}

// Serving returns what this node holds for others, in both families.
func (s *Source) Serving() Serving {
	var sum Serving
	for _, f := range s.families {
		if f.serving != nil {
			f.serving.count(&sum)
		}
	}
	return sum
}

func (r *responder) count(sum *Serving) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum.Nodes += r.routing.size()
	sum.Peers += r.peers.peers.len()
	sum.Items += r.items.items.len()
	sum.Answers += r.served
}
