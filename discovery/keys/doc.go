// Package keys turns one passphrase into every key that a network uses, and
// holds the keys of its nodes.
//
// It is pure: no files, no sockets, no goroutines. Where keys are stored is
// decided by control, how they travel by package wire.
//
//	passphrase -- PRECIS OpaqueString, Argon2id --> NetworkKey
//	NetworkKey -- HKDF-SHA256, one label a use ---> everything of the network
//	NodePrivate  (Ed25519) a node's identity in one network; signs its records
//	ProbePrivate (X25519)  fresh at each start; two of them make a Pair
//
// Follows RFC 8265 (OpaqueString), RFC 9106 (Argon2id, the second recommended
// option), RFC 5869 (HKDF), RFC 8032 (Ed25519), RFC 7748 (X25519) and RFC 4193
// (unique local addresses). docs/wire.md spells out every label and byte for a
// second implementation; testdata/vectors.json is what it can test against.
//
// Secret types print as a fixed word in every format and marshal to it; only
// Bytes and Seed give the secret away.
//
// All values are immutable and safe for concurrent use. Start at NetworkKey.
package keys
