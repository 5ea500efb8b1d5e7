// Package client is a node's half of the talk with one relay.
//
// A Client finds out at which of the relay's addresses it answers, registers
// the node with a blob and tells who else is registered, has a port allocated
// for each pair that wants one and binds this half of it, and keeps all that:
// through loss, another network, a changed NAT mapping, and a relay that
// restarts or goes away and comes back. A fresh client is registered after two
// round trips and bound after two more; a refresh, or another blob, takes one.
//
// It leaves to others: sockets and clocks, the bytes of a frame (relay/wire),
// what a blob says, which relay is used for what, and whether an allocated port
// is a good path: that is for checks from end to end.
//
// A relay may lie, repeat, reorder and delay; it never gets more than loss of
// its own service. What it claims is bounded, and what it makes this node send
// goes to the relay's own address and at a bounded rate.
//
// It needs no privileges and does no I/O. A Client has one owner, who passes the
// time in. Start reading at client.go.
package client
