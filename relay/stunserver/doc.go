// Package stunserver answers STUN Binding requests (RFC 8489), and those of NAT
// behaviour discovery (RFC 5780) where the relay has two addresses of a family
// and two ports. It keeps no state but its rate limits, and does no I/O.
//
// A response goes to the address that the request came from, whatever it asks
// for; RESPONSE-PORT chooses a port there, not under 1024. There is no SOFTWARE,
// and no FINGERPRINT unless the request had one. The answer is at most three times
// the request, counted as the wire does, with IP and UDP headers; PADDING comes
// back as long as it came. A source gets a few answers a second (limit.go).
//
// Departures: nothing of RFC 5780 is offered where the other address is private and
// the client's is not, because the client could not reach it.
//
// A Server may be used by several goroutines. Start at server.go; message.go has
// the encoding.
package stunserver
