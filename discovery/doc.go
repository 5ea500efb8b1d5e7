// Package discovery finds out who is in the network and where.
//
// The sources (cache, LAN, DHT, static addresses, gossip) yield addresses where
// a member may answer. A Greeter says hello there and proves, in one round trip
// each way, that a member does; the Book keeps the signed records that members
// send; the Cache file keeps both for the next start.
//
// It leaves to others: opening sockets and reading clocks (control owns them),
// choosing and keeping a path (natpunch), and the bytes on the wire and the keys
// they are sealed with (the pure subpackages wire and keys). The sources live in
// subpackages that import this one; it imports none of them.
//
// It departs from what is common in that no message is judged by the wall clock:
// whoever echoes a number that I chose a moment ago is there now, and nothing
// else is believed. The time handed in only measures intervals.
//
// It needs no privileges. Greeter, Book and Cache are not safe for concurrent
// use: each has one owner, who passes the time in.
//
// Start reading at greeter.go.
package discovery
