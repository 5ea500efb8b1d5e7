package wire

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// Step is the place of a message in the exchange of hellos; zero is none.
type Step uint8

// The exchange: A says hello, B replies and remembers nothing, A confirms, and
// only then B takes A in and says ready.
const (
	StepHello Step = iota + 1
	StepReply
	StepConfirm
	StepReady
)

// String returns the step's name.
func (s Step) String() string {
	switch s {
	case StepHello:
		return "hello"
	case StepReply:
		return "reply"
	case StepConfirm:
		return "confirm"
	case StepReady:
		return "ready"
	}
	return "unknown"
}

// Hello is one message of the exchange. Fields that a step does not carry are
// zero:
//
//	         TxA  TxB  To  Observed  Age, Signed  signature
//	hello     x                          x
//	reply     x    x   A      x          x            B's
//	confirm   x    x   B      x          x            A's
//	ready     x    x   A      x                       B's
type Hello struct {
	Step Step
	// TxA is A's transaction id. TxB is B's: a MAC over TxA, A's address and A's
	// node key, which B recomputes from the confirm instead of remembering it.
	TxA, TxB [16]byte
	// MaxVersion is the highest version that the sender speaks.
	MaxVersion uint8
	// Observed is where the sender sees the receiver.
	Observed netip.AddrPort
	// To is the receiver, From the sender.
	To, From keys.NodePublic
	// Age is how long ago the sender signed the record.
	Age    time.Duration
	Signed SignedRecord
	// Starts is a ready's word that its sender starts WireGuard's handshake, or
	// has just done so: the two had greeted each other at once, and B's own
	// exchange was the first to end.
	Starts bool
}

type helloCBOR struct {
	Step       uint8          `cbor:"1,keyasint"`
	TxA        codec.Bytes16  `cbor:"2,keyasint,omitzero"`
	TxB        codec.Bytes16  `cbor:"3,keyasint,omitzero"`
	MaxVersion uint8          `cbor:"4,keyasint,omitempty"`
	From       codec.Bytes32  `cbor:"5,keyasint,omitzero"` // where no record says it
	To         codec.Bytes32  `cbor:"6,keyasint,omitzero"`
	Observed   codec.AddrPort `cbor:"7,keyasint,omitzero"`
	Age        codec.Seconds  `cbor:"8,keyasint,omitempty"`
	Record     *signedCBOR    `cbor:"9,keyasint,omitempty"`
	Starts     bool           `cbor:"10,keyasint,omitempty"`
}

// signedHelloCBOR is the body of a hello. The signature is over the content as
// it stands, so that it covers fields of later versions too.
type signedHelloCBOR struct {
	Content   codec.Blob    `cbor:"1,keyasint"`
	Signature codec.Bytes64 `cbor:"2,keyasint,omitzero"`
}

// SealHello signs h as node, where its step is signed, and seals it for any
// member: HelloSize bytes. From is node's, whatever h says.
func SealHello(h Hello, helloKey [32]byte, node keys.NodePrivate) ([]byte, error) {
	body, err := h.encode(node)
	if err != nil {
		return nil, fmt.Errorf("seal %v: %w", h.Step, err)
	}
	return Seal(KindHello, helloKey, body)
}

func (h Hello) encode(node keys.NodePrivate) ([]byte, error) {
	h.From = node.Public()
	if err := h.check(); err != nil {
		return nil, err
	}
	c := helloCBOR{
		Step: uint8(h.Step), TxA: h.TxA, TxB: h.TxB, MaxVersion: h.MaxVersion,
		To: codec.Bytes32(h.To), Observed: codec.NewAddrPort(h.Observed), Starts: h.Starts,
	}
	if h.Step == StepReady {
		c.From = codec.Bytes32(h.From)
	} else {
		signed := h.Signed.encode()
		c.Record, c.Age = &signed, codec.NewSeconds(h.Age)
	}
	return signHelloContent(h.Step, codec.Encode(c), node), nil
}

func signHelloContent(step Step, content []byte, node keys.NodePrivate) []byte {
	body := signedHelloCBOR{Content: content}
	if step != StepHello {
		body.Signature = node.Sign(append([]byte(signHello), content...))
	}
	return codec.Encode(body)
}

// OpenHello opens and verifies a hello: the seal, the encoding, that the step
// has its fields, the record's signature and address, and the sender's
// signature. Whether the transaction ids are the receiver's own is for the
// caller. The record is zero where the step carries none.
func OpenHello(b []byte, helloKey [32]byte, prefix6 netip.Prefix) (Hello, Record, error) {
	body, err := Open(KindHello, helloKey, b)
	if err != nil {
		return Hello{}, Record{}, err
	}
	h, r, err := parseHello(body, prefix6)
	if err != nil {
		return Hello{}, Record{}, fmt.Errorf("open hello: %w", err)
	}
	return h, r, nil
}

func parseHello(body []byte, prefix6 netip.Prefix) (Hello, Record, error) {
	var s signedHelloCBOR
	if err := decoder.Decode(body, &s); err != nil {
		return Hello{}, Record{}, err
	}
	var c helloCBOR
	if err := decoder.Decode(s.Content, &c); err != nil {
		return Hello{}, Record{}, err
	}
	h := Hello{
		Step: Step(c.Step), TxA: c.TxA, TxB: c.TxB, MaxVersion: max(c.MaxVersion, 1),
		Observed: c.Observed.AddrPort, To: keys.NodePublic(c.To), From: keys.NodePublic(c.From),
		Age: c.Age.Duration(), Starts: c.Starts,
	}
	var r Record
	if c.Record != nil {
		var err error
		if h.Signed, err = c.Record.decode(); err != nil {
			return Hello{}, Record{}, err
		}
		if r, err = h.Signed.Verify(prefix6); err != nil {
			return Hello{}, Record{}, err
		}
		if !h.From.IsZero() && h.From != r.Node {
			return Hello{}, Record{}, fmt.Errorf("sender is not the record's: %w", ErrSignature)
		}
		h.From = r.Node
	}
	if err := h.check(); err != nil {
		return Hello{}, Record{}, err
	}
	if h.Step != StepHello && !h.From.Verify(append([]byte(signHello), s.Content...), s.Signature) {
		return Hello{}, Record{}, fmt.Errorf("%v of %s: %w", h.Step, h.From.ID(), ErrSignature)
	}
	return h, r, nil
}

// check reports a field that the step must have and lacks, or must not have
// and has.
func (h Hello) check() error {
	if h.Step < StepHello || h.Step > StepReady {
		return fmt.Errorf("step %d: %w", h.Step, ErrKind)
	}
	first := h.Step == StepHello
	for _, f := range []struct {
		name      string
		has, want bool
	}{
		{"first transaction id", h.TxA != [16]byte{}, true},
		{"second transaction id", h.TxB != [16]byte{}, !first},
		{"sender", !h.From.IsZero(), true},
		{"receiver", !h.To.IsZero(), !first},
		{"observed address", codec.ValidEndpoint(h.Observed), !first},
		{"record", !h.Signed.IsZero(), h.Step != StepReady},
	} {
		switch {
		case f.want && !f.has:
			return fmt.Errorf("%s of %v: %w", f.name, h.Step, ErrMissing)
		case !f.want && f.has:
			return fmt.Errorf("%v has a %s: %w", h.Step, f.name, ErrBound)
		}
	}
	if keys.SmallOrder(h.From) || !first && keys.SmallOrder(h.To) {
		return fmt.Errorf("%v has a key of small order: %w", h.Step, ErrBound)
	}
	if h.Starts && h.Step != StepReady {
		return fmt.Errorf("%v starts the handshake: %w", h.Step, ErrBound)
	}
	// A receiver may have the sender's own node key: that is how twins, two
	// hosts with one state, find out.
	return nil
}
