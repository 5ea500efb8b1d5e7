// Package gossip keeps the records of all members the same on all members, by
// anti-entropy between neighbours.
//
// A record that is news is pushed at once to at most 8 neighbours, who push it
// on: it reaches everybody in O(log n) hops. Nothing is acknowledged; what was
// lost, or happened while a network was split, is healed by digests: neighbours
// compare what they have when they meet, a while after news, and now and then,
// and each asks the other for what it lacks. As in Trickle (RFC 6206) the pause
// between comparisons doubles while they find nothing, and starts anew with news.
//
// It leaves to others: verifying records and their ages (discovery.Book, which
// it only reads), sealing and sending signals (control), their bytes (package
// wire; docs/wire.md has the rules that a second implementation needs), and
// where a peer is reached: whoever sends an Introduce may add Observed to it.
//
// A member may lie in all it says. What it costs is bounded by budgets of its
// own (peer.go), and by those of all together (Gossip).
//
// A Gossip is a state machine without clock, sockets or goroutines. It needs no
// privileges and is not safe for concurrent use. Start reading at gossip.go.
package gossip
