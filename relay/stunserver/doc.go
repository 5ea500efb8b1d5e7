// Package stunserver answers STUN Binding requests (RFC 8489), and those of NAT
// behaviour discovery (RFC 5780) where the relay has two addresses of a family
// and two ports. It keeps no state but its rate limits, and does no I/O.
//
// A response goes to where the request came from and nowhere else: RESPONSE-PORT
// and PADDING of RFC 5780 are refused as unknown attributes. There is no
// SOFTWARE, and no FINGERPRINT unless the request had one. The answer is at most
// three times the request, counted as the wire does, with IP and UDP headers; a
// source gets a few answers a second (limit.go).
//
// Departures: OTHER-ADDRESS is left out when that address is private and the
// client's is not, because the client could not reach it. MAPPED-ADDRESS of
// RFC 3489 is not sent.
//
// A Server may be used by several goroutines. Start at server.go; message.go has
// the encoding.
package stunserver
