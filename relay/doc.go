// Package relay is the engine of a relay server: it lets nodes that no direct
// path joins meet at one of its ports.
//
// A Server answers asks with challenges and keeps nothing for them, keeps the
// registrations of nodes and pushes them to the others of a network, gives each
// pair of nodes an allocation, and says which flows are to be forwarded. A pair
// has the lowest port that both nodes have free; (port, source) tells pairs
// apart, so the relay needs no more ports than one node has relayed peers.
//
// It leaves to others: sockets, clocks and forwarding (relay/forward carries out
// its outputs), the bytes of a frame (relay/wire), STUN (relay/stunserver) and
// the node's half (relay/client).
//
// It does for WireGuard what TURN (RFC 8656) does for ICE, and departs from it:
// both sides prove themselves at the allocated port, no header is added, and
// nothing but WireGuard and CredAnt datagrams passes. The relay stores public
// keys alone; whoever steals it can drop packets and make no member.
//
// It needs no privileges and does no I/O. A Server has one owner, who passes the
// time in; Buckets may be taken from by anybody.
//
// Start reading at server.go.
package relay
