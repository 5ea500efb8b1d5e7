package wire

import (
	"fmt"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// Beacon tells the machines on a link where a node's own port is. It is a hint:
// whoever hears it sends a hello to the address it came from, at that port.
type Beacon struct {
	Node keys.NodePublic
	// Port is the node's WireGuard port, from which its hellos come.
	Port uint16
	// Tx is random; an answer repeats it.
	Tx uint64
	// WantReply asks those who hear the beacon to answer with their own.
	WantReply bool
}

type beaconCBOR struct {
	Node      codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Port      uint16        `cbor:"2,keyasint,omitempty"`
	Tx        uint64        `cbor:"3,keyasint,omitempty"`
	WantReply bool          `cbor:"4,keyasint,omitempty"`
}

// SealBeacon seals b for the members on the link: BeaconSize bytes.
func SealBeacon(b Beacon, beaconKey [32]byte) ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("seal beacon: %w", err)
	}
	return Seal(KindBeacon, beaconKey, b.encode())
}

func (b Beacon) encode() []byte {
	return codec.Encode(beaconCBOR{codec.Bytes32(b.Node), b.Port, b.Tx, b.WantReply})
}

// OpenBeacon reads what SealBeacon wrote.
func OpenBeacon(b []byte, beaconKey [32]byte) (Beacon, error) {
	body, err := Open(KindBeacon, beaconKey, b)
	if err != nil {
		return Beacon{}, err
	}
	beacon, err := parseBeacon(body)
	if err != nil {
		return Beacon{}, fmt.Errorf("open beacon: %w", err)
	}
	return beacon, nil
}

func parseBeacon(body []byte) (Beacon, error) {
	var c beaconCBOR
	if err := decoder.Decode(body, &c); err != nil {
		return Beacon{}, err
	}
	b := Beacon{keys.NodePublic(c.Node), c.Port, c.Tx, c.WantReply}
	return b, b.check()
}

func (b Beacon) check() error {
	if err := checkNode("node key", b.Node); err != nil {
		return err
	}
	if b.Port == 0 {
		return fmt.Errorf("port: %w", ErrMissing)
	}
	return nil
}
