package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys/internal/eff"
)

// NetworkKey is the secret that the members of a network share; everything
// else of the network follows from it. The zero value is no key.
type NetworkKey struct {
	redacted
	key [32]byte
}

// ParseNetworkKey reads the 32 bytes that Bytes wrote.
func ParseNetworkKey(b []byte) (NetworkKey, error) {
	var k NetworkKey
	if len(b) != len(k.key) {
		return NetworkKey{}, fmt.Errorf("parse network key: %d bytes, want %d", len(b), len(k.key))
	}
	copy(k.key[:], b)
	if k.IsZero() {
		return NetworkKey{}, errors.New("parse network key: all zero")
	}
	return k, nil
}

// Bytes returns a copy of the secret, for the state file alone.
func (k NetworkKey) Bytes() []byte { return bytes.Clone(k.key[:]) }

// IsZero reports whether k is no key.
func (k NetworkKey) IsZero() bool { return k.key == [32]byte{} }

func (k NetworkKey) derive(use string) [32]byte {
	return [32]byte(expand(k.key[:], use, nil, 32))
}

// HelloKey seals hellos, which any member may send to any other.
func (k NetworkKey) HelloKey() [32]byte { return k.derive(useHello) }

// RecordKey seals records that lie where outsiders can read them.
func (k NetworkKey) RecordKey() [32]byte { return k.derive(useRecord) }

// BeaconKey seals beacons on the local network.
func (k NetworkKey) BeaconKey() [32]byte { return k.derive(useBeacon) }

// PresharedKey is the WireGuard pre-shared key of two nodes, given by their
// WireGuard public keys in either order. It keeps out who knows a node's
// WireGuard key and not the passphrase; any member can compute it.
func (k NetworkKey) PresharedKey(a, b wgtypes.Key) wgtypes.Key {
	low, high := order(a, b)
	return wgtypes.Key(expand(k.key[:], usePresharedKey, append(low[:], high[:]...), wgtypes.KeyLen))
}

// CheckWords are three words of the EFF long list by which people compare two
// machines: a typo in passphrase or name changes them.
func (k NetworkKey) CheckWords() [3]string {
	var words [3]string
	stream := expand(k.key[:], useCheckWords, nil, 8*len(words))
	for i := range words {
		// 64 bits for one of 7776 words: the bias is under 2^-50.
		words[i] = eff.Word(int(binary.BigEndian.Uint64(stream[8*i:]) % eff.Size))
	}
	return words
}

// InfoHash is where the network meets on the mainline DHT on one day (Unix
// seconds / 86,400).
func (k NetworkKey) InfoHash(day int64) [20]byte {
	rendezvous := k.derive(useRendezvous)
	mac := hmac.New(sha256.New, rendezvous[:])
	_ = binary.Write(mac, binary.BigEndian, day)
	return [20]byte(mac.Sum(nil))
}

// NoteSlots is how many members behind one address can leave a note each.
const NoteSlots = 8

// NoteKey signs the notes, items of the mainline DHT (BEP 44), that members at one
// address of the internet leave on one day for members that they cannot reach.
func (k NetworkKey) NoteKey(day int64, at netip.Addr) ed25519.PrivateKey {
	context := binary.BigEndian.AppendUint64(nil, uint64(day))
	address := at.As16()
	return ed25519.NewKeyFromSeed(expand(k.key[:], useNote, append(context, address[:]...), ed25519.SeedSize))
}

// NoteSlot is which of the NoteSlots the node takes. Two that take the same one at
// one address cannot both leave a note.
func (n NodePublic) NoteSlot() int { return int(hash(useNoteSlot, n[:])[0]) % NoteSlots }

const (
	secondsPerDay = 86400
	// dayOverlap lets clocks differ by as much and still meet around midnight.
	dayOverlap = 2 * 60 * 60
)

// Days returns the days on whose info hashes to meet at now: today, and within
// two hours of midnight UTC the nearer neighbour too.
func Days(now time.Time) []int64 {
	unix := now.Unix()
	day := unix / secondsPerDay
	if unix%secondsPerDay < 0 {
		day--
	}
	switch second := unix - day*secondsPerDay; {
	case second < dayOverlap:
		return []int64{day, day - 1}
	case second >= secondsPerDay-dayOverlap:
		return []int64{day, day + 1}
	}
	return []int64{day}
}

// NetworkID is the Ed25519 public key by which relays and seeds know a
// network. They can tell members by it and mint none.
type NetworkID [ed25519.PublicKeySize]byte

func (k NetworkKey) idKey() ed25519.PrivateKey {
	seed := k.derive(useNetworkID)
	return ed25519.NewKeyFromSeed(seed[:])
}

// ID returns the network's public identity.
func (k NetworkKey) ID() NetworkID {
	return NetworkID(k.idKey().Public().(ed25519.PublicKey))
}

// SignID signs msg as a member of the network, to be checked with
// NetworkID.Verify. The caller separates the uses of msg.
func (k NetworkKey) SignID(msg []byte) [ed25519.SignatureSize]byte {
	return [ed25519.SignatureSize]byte(ed25519.Sign(k.idKey(), msg))
}

// String returns the id in base32, lower case, unpadded: 52 characters.
func (id NetworkID) String() string { return base32Lower.EncodeToString(id[:]) }

// IsZero reports whether id is unset.
func (id NetworkID) IsZero() bool { return id == NetworkID{} }

// Verify reports whether sig was made over msg by a member of the network.
func (id NetworkID) Verify(msg []byte, sig [ed25519.SignatureSize]byte) bool {
	return !SmallOrder(id) && ed25519.Verify(id[:], msg, sig[:])
}

// RelayInfoHash is where the relays that serve the network announce themselves
// on the mainline DHT. Unlike the network's own info hashes it stays the same every
// day, and whoever knows the id can compute it: a relay does.
func (id NetworkID) RelayInfoHash() [20]byte {
	sum := hash(useRelayInfoHash, id[:])
	return [20]byte(sum[:])
}

// PublicRelayInfoHash is where relays that serve every network announce themselves.
func PublicRelayInfoHash() [20]byte {
	sum := hash(usePublicRelayInfoHash, nil)
	return [20]byte(sum[:])
}

// order returns the lower of two keys first.
func order[K ~[32]byte](a, b K) (low, high K) {
	if bytes.Compare(a[:], b[:]) > 0 {
		return b, a
	}
	return a, b
}
