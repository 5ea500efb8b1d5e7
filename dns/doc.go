// Package dns serves a network's names to this host: package zone's answers over UDP and TCP, on port 53 of the
// overlay addresses.
//
// Pointing the host's resolver at the server is hostdns's. Who is called what is decided by whoever makes the table.
//
// The server binds addresses, never the wildcard, so it can live beside other DNS servers and other networks.
// Where another program has port 53 there too, it takes a loopback address of its own, and at last another
// port, which only some resolvers can be told of. It answers this host and the overlay, nobody else: a query whose
// source is neither is dropped without a word, and so is one from the port of a name server, for no resolver asks
// from there and two servers could be made to talk. What other machines may ask is bounded (limits.go).
//
// Follows RFC 1035 and RFC 7766 (TCP). Needs CAP_NET_BIND_SERVICE for port 53. Run owns all goroutines;
// the other methods may be called at any time, from anywhere. Start reading at server.go.
package dns
