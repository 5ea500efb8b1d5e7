// Package wire is what a relay and its clients say to each other: the frames,
// their seals and signatures, and how people name a relay.
//
//	ask        A1 40 | transaction id 16 | zeros, to the challenge's 188
//	challenge  A1 41 | transaction id 16 | cookie 24 | observed 18, masked |
//	                   relay identity 32 | exchange key 32 | signature 64
//	request    A1 42 | cookie 24 | client key 32 | nonce 24 | sealed body, tag 16
//	response   A1 43 | client tag 8 | nonce 24 | sealed body, tag 16
//	push       A1 44 | client tag 8 | nonce 24 | sealed body, tag 16
//	reset      A1 45 | first 16 bytes of what could not be served
//
// A body is length 2, CBOR (RFC 8949, core deterministic), zeros to a multiple
// of 64 or to MaxFrame; what stands before the nonce is additional data.
// docs/relay.md has every key, bound and rule; testdata/vectors.json what it
// must come to.
//
// The package is pure: it knows no clock, socket or table. When a cookie is
// good, who may have what, and what is sent again, is for relay and
// relay/client.
//
// All functions are safe for concurrent use. Start at OpenChallenge and
// Session.
package wire
