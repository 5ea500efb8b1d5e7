// Package codec is what all messages of CredAnt are made of, between nodes and
// with relays: a body of deterministic CBOR (RFC 8949, Section 4.2.1), which is
// padded and sealed with XChaCha20-Poly1305 behind a head in the clear.
//
//	+------+------------+-------------------------------------------+
//	| head | nonce (24) | sealed: length (2), body, zeros | tag (16) |
//	+------+------------+-------------------------------------------+
//
// The head is the additional data. Numbers of the frame are big-endian.
//
// The package knows no message: which fields there are, what bounds they have,
// how long a frame is and which key seals it is for discovery/wire, relay/wire
// and natpunch to say. It does no I/O, keeps no state and is safe for
// concurrent use. Start reading at Encode and Seal.
package codec
