package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"strconv"
)

// Generation is the number in every derivation label and in the Argon2id salt.
// A changed passphrase (one day) or a changed derivation takes the next number,
// so that no key of one generation is ever a key of another.
const Generation = 1

// The uses of the network key. No key serves two uses.
const (
	useNetworkID    = "network-id"
	useRendezvous   = "rendezvous"
	useHello        = "hello"
	useRecord       = "record"
	useBeacon       = "beacon"
	useNote         = "note"
	usePresharedKey = "preshared-key"
	usePair         = "pair"
	useCheckWords   = "check-words"
	usePrefix6      = "prefix6"
	usePrefix4      = "prefix4"
)

// The uses of public node keys, which are hashed and not secret.
const (
	useNodeID   = "node-id"
	useAddress4 = "address4"
	useNoteSlot = "slot"
)

// Where relays announce themselves on the mainline DHT. What is hashed is no
// secret.
const (
	useRelayInfoHash       = "relay-info-hash"
	usePublicRelayInfoHash = "public-relay-info-hash"
)

// label is "credant/GENERATION/USE". No use is a prefix of another, and what
// follows a label has a fixed length, so that no two inputs can be confused.
func label(use string) string {
	return "credant/" + strconv.Itoa(Generation) + "/" + use
}

// expand is HKDF-SHA256 with an empty salt; info is the label followed by
// context.
func expand(secret []byte, use string, context []byte, n int) []byte {
	info := label(use) + string(context)
	out, err := hkdf.Key(sha256.New, secret, nil, info, n)
	if err != nil {
		// Only an output beyond 255 hashes is refused, and n is a constant.
		panic("keys: " + err.Error())
	}
	return out
}

// hash is SHA-256 over the label of use and b.
func hash(use string, b []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(label(use)), b...))
}
