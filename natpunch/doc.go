// Package natpunch finds out how a packet can get to a peer. Agent checks
// candidate pairs with sealed pings and selects a path per peer; STUN asks
// servers how the NAT in front of this host behaves.
//
// Agent follows RFC 8445 with regular nomination, and departs from it where two
// nodes of one network need less: the lower node key is always the controlling
// agent, so that roles cannot conflict; there is one component, and the local
// bases are the uplinks of the node's one port (bases.go); checks are sealed pings
// under the pair's key instead of STUN with passwords (check.go draws them); a path
// that a hello exchange proved is used without a check. Consent (RFC 7675) is checked
// only when asked: a peer that is left alone costs no datagrams. Where there is no path,
// a relayed pair is nominated unchecked; while one is the path, better ones are sought.
//
// STUN follows RFC 8489 and compares what several servers saw, in the words of
// RFC 4787. Probe makes the tests of RFC 5780 that need ports of their own, once;
// package netcheck gives it sockets.
//
// All are pure state machines: they take the time and what happened, and return
// what is to be done. No sockets, timers, goroutines or locks: one goroutine owns
// each. All addresses at the border are unmapped, without a zone. Neither sends
// anything but what its budgets allow (budget.go), whatever a peer says.
//
// Opening sockets, resolving servers, setting WireGuard endpoints and talking to
// relays are for others. Start at agent.go, then checklist.go, relayed.go and spray.go.
package natpunch
