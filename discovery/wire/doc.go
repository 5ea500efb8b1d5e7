// Package wire is everything of CredAnt's that travels between nodes: the
// sealed envelope, hellos, beacons, signals and signed records.
//
//	 0        1        2                      26
//	+--------+--------+----------------------+---------------------------+
//	| 0xA0|v |  kind  | nonce (24)           | ciphertext, tag (16) last |
//	+--------+--------+----------------------+---------------------------+
//	 \__ additional __/                         plaintext:
//	     data                                   +------------+------+-----+
//	                                            | length (2) | CBOR | 0.. |
//	                                            +------------+------+-----+
//
// A kind has one size on the wire, whatever it says. XChaCha20-Poly1305; CBOR
// (RFC 8949) in core deterministic encoding with integer keys. docs/wire.md
// has every key and bound; testdata/vectors.json what it must come to.
//
// The package is pure: it knows no clock, socket or table. What to answer, and
// whom to believe after a signature holds, is for discovery and natpunch.
//
// All functions are safe for concurrent use. Start at Open and OpenHello.
package wire
