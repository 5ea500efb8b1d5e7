// Package lan finds members on the same link by multicast: two machines on one
// switch meet with the uplink cut.
//
// Each sends a sealed beacon (wire.Beacon: its node key and port) to one IPv4 and
// one IPv6 group, from a port of its own, since multicast to WireGuard's port does
// not arrive beside a kernel device. Who hears one yields the source address with
// the port in the beacon. It is a hint: a beacon can be replayed, which costs some
// rate-limited hints and answers, and nothing else.
//
//	start, Kick:  now, 250 ms, 1 s  both families, asking for an answer
//	after that:   each 60 s         one family in turn, asking for none
//
// Beacons stay on the link: the groups are not forwarded, the hop limit is 1, and
// the source must be on-link at the interface that the beacon came in by. Follows
// RFC 2365 (administratively scoped IPv4 multicast), RFC 4291 and RFC 3307 (a
// transient link-local IPv6 group).
//
// It leaves saying hello to package discovery. It needs no privileges. A Source's
// methods may be called from any goroutine; Config.Found is called from Run's
// alone. Start reading at presence.go, the state machine.
package lan
