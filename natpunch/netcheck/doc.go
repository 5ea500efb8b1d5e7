// Package netcheck runs natpunch.Probe over real sockets, and says what the
// network around this host means for direct paths.
//
// Measure is one measurement of both families, Runner makes one at the start of a
// daemon and after changes of network, and Run looks at all else too, for people:
// port mapping, NAT64, captive portals, blocked UDP, MTU. report.go is what it
// finds, words.go what that means.
//
// It follows RFC 5780 (NAT behaviour), RFC 7050 with RFC 6052 (NAT64). It opens
// UDP ports of its own for as long as it measures and needs no privileges, save
// CAP_NET_ADMIN where a firewall mark is asked for. A Runner may be told of
// changes from anywhere; all else is called once, blocks, and has joined its
// goroutines when it returns.
package netcheck
