// Package dns serves a network's names to this host: package zone's answers over UDP and TCP, on port 53 of the
// overlay addresses.
//
// Pointing the host's resolver at the server is hostdns's. Who is called what is decided by whoever makes the table.
//
// The server binds addresses, never the wildcard, so it can live beside other DNS servers and other networks.
// Where another program has port 53 there too, it takes a loopback address of its own, and at last another
// port, which only some resolvers can be told of. It answers this host and the overlay, nobody else: a query from any
// other source is dropped without a word. What other machines may ask is bounded (limits.go).
//
// Follows RFC 1035 and RFC 7766 (TCP). Needs CAP_NET_BIND_SERVICE for port 53. Run owns all goroutines;
// the other methods may be called at any time, from anywhere. Start reading at server.go.
package dns
