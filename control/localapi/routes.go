package localapi

// Route is a network that a node offers to carry packets to.
type Route struct {
	Prefix string `json:"prefix"`
	// State is "accepted" (it leads there), "standby" (it leads to another node, which
	// comes first), "refused", or "offered" where the settings do not name the node.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// ExitNode is where all traffic goes that has no way of its own.
type ExitNode struct {
	Name  string `json:"name"`         // as the settings say it
	ID    string `json:"id,omitempty"` // empty: no node has the name
	State string `json:"state"`        // "working", "away", "unknown", "blocked", "not offered"
}
