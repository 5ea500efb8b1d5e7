// Command relay measures what a relay costs: CPU time of its process, user and
// system, for each packet that it forwards. Side by side, in turn and in one run:
//
//   - credant: package relay/forward, with the three buckets that a flow has
//   - coturn: Debian's turnserver, channel data on one side (TURN, RFC 8656)
//   - simple: one datagram at a time, recvfrom and sendto, in Go
//
// Two clients, in network namespaces of their own, send to each other through the
// relay in a third, over veth. What the sending costs in the clients is not
// counted; what the receiving client's interface does with a packet happens in
// the relay's system call, and is, for all three alike.
//
// Run as root, with "make bench-relay". It ends with an error when the goal is
// missed.
package main
