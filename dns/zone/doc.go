// Package zone answers DNS queries about one network: who is NODE.NETWORK.internal, and which name an overlay address has.
//
// A Table is built from a Zone, never changes, and may be used by any number of goroutines. It decides nothing about
// who holds which name; that is control's. It is authoritative for the network's domain and for the reverse zones of
// the overlay prefixes, refuses all else, forwards nothing, and says nothing to a response, so two servers cannot
// make each other talk.
//
// Follows RFC 1034 and 1035, RFC 2308 (negative answers), RFC 4592 (empty non-terminals), RFC 6891 (EDNS), RFC 8482
// (ANY) and RFC 8020 (nothing is below a name that does not exist). As in the locally served zones of RFC 6303, the
// zones name themselves as their server, which has no address: nobody delegates to them. No DNSSEC, no transfers.
//
// No I/O. The codec is miekg/dns. Start reading at zone.go, then answer.go.
package zone
