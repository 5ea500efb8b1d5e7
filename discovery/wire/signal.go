package wire

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// MaxForward is the longest body that a member forwards for two others.
const MaxForward = 1024

// Signal is what one node tells another over a path that stands. Exactly one
// field is set.
type Signal struct {
	Introduce *Introduce
	Forward   *Forward
	Forwarded *Forwarded
	Digest    *Digest
	Want      *Want
	// Tell is what path checks have to say where there is no path yet: from 1 to
	// MaxTell bytes, which are nothing to this package. It travels in a Forward.
	Tell []byte
}

// MaxTell is the most that a Tell holds.
const MaxTell = 64

// Introduce passes on the record of a third node.
type Introduce struct {
	// Age is the record's, as far as the sender knows it.
	Age    time.Duration
	Signed SignedRecord
	// Observed is where the sender reaches that node: a hint, zero without.
	Observed netip.AddrPort
}

// Forward asks the receiver to hand Body to another member.
type Forward struct {
	To   keys.NodePublic
	Body []byte
}

// Forwarded is the Body of another member's Forward. The body is sealed for the
// receiver; only it proves who sent it.
type Forwarded struct {
	From keys.NodePublic
	Body []byte
}

type signalCBOR struct {
	Introduce *introduceCBOR `cbor:"1,keyasint,omitempty"`
	Forward   *forwardCBOR   `cbor:"2,keyasint,omitempty"`
	Forwarded *forwardCBOR   `cbor:"3,keyasint,omitempty"`
	Digest    *digestCBOR    `cbor:"4,keyasint,omitempty"`
	Want      *wantCBOR      `cbor:"5,keyasint,omitempty"`
	Tell      codec.Blob     `cbor:"6,keyasint,omitempty"`
}

type introduceCBOR struct {
	Age      codec.Seconds  `cbor:"1,keyasint,omitempty"`
	Record   signedCBOR     `cbor:"2,keyasint"`
	Observed codec.AddrPort `cbor:"3,keyasint,omitzero"`
}

type forwardCBOR struct {
	Node codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Body codec.Blob    `cbor:"2,keyasint,omitempty"`
}

// SealSignal seals s for the other half of p: SignalSize bytes.
func SealSignal(p *keys.Pair, s Signal) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("seal signal: %w", err)
	}
	return SealPair(KindSignal, p, s.encode(), 0)
}

// SealForward seals s for the other half of p as the body of a Forward: a third
// node carries it, and OpenSignal reads it.
func SealForward(p *keys.Pair, s Signal) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("seal signal to forward: %w", err)
	}
	return SealPair(KindSignal, p, s.encode(), MaxForward)
}

func (s Signal) encode() []byte {
	var c signalCBOR
	if x := s.Introduce; x != nil {
		c.Introduce = &introduceCBOR{codec.NewSeconds(x.Age), x.Signed.encode(), codec.NewAddrPort(x.Observed)}
	}
	if x := s.Forward; x != nil {
		c.Forward = &forwardCBOR{codec.Bytes32(x.To), x.Body}
	}
	if x := s.Forwarded; x != nil {
		c.Forwarded = &forwardCBOR{codec.Bytes32(x.From), x.Body}
	}
	if x := s.Digest; x != nil {
		c.Digest = x.encode()
	}
	if x := s.Want; x != nil {
		c.Want = x.encode()
	}
	c.Tell = s.Tell
	return codec.Encode(c)
}

// OpenSignal reads what the other half of p sealed. A record in it is not
// verified yet.
func OpenSignal(p *keys.Pair, b []byte) (Signal, error) {
	body, err := OpenPair(KindSignal, p, b)
	if err != nil {
		return Signal{}, err
	}
	s, err := parseSignal(body)
	if err != nil {
		return Signal{}, fmt.Errorf("open signal: %w", err)
	}
	return s, nil
}

func parseSignal(body []byte) (Signal, error) {
	var c signalCBOR
	if err := decoder.Decode(body, &c); err != nil {
		return Signal{}, err
	}
	var s Signal
	if x := c.Introduce; x != nil {
		signed, err := x.Record.decode()
		if err != nil {
			return Signal{}, err
		}
		s.Introduce = &Introduce{x.Age.Duration(), signed, x.Observed.AddrPort}
	}
	if x := c.Forward; x != nil {
		s.Forward = &Forward{keys.NodePublic(x.Node), x.Body}
	}
	if x := c.Forwarded; x != nil {
		s.Forwarded = &Forwarded{keys.NodePublic(x.Node), x.Body}
	}
	var err error
	if x := c.Digest; x != nil {
		if s.Digest, err = x.decode(); err != nil {
			return Signal{}, err
		}
	}
	if x := c.Want; x != nil {
		if s.Want, err = x.decode(); err != nil {
			return Signal{}, err
		}
	}
	s.Tell = c.Tell
	return s, s.check()
}

func (s Signal) check() error {
	n := 0
	if x := s.Introduce; x != nil {
		n++
		if x.Signed.IsZero() {
			return fmt.Errorf("record: %w", ErrMissing)
		}
		if x.Observed.IsValid() && !codec.ValidEndpoint(x.Observed) {
			return fmt.Errorf("observed address %v: %w", x.Observed, ErrBound)
		}
	}
	if x := s.Forward; x != nil {
		n++
		if err := checkForward(x.To, x.Body); err != nil {
			return err
		}
	}
	if x := s.Forwarded; x != nil {
		n++
		if err := checkForward(x.From, x.Body); err != nil {
			return err
		}
	}
	if x := s.Digest; x != nil {
		n++
		if err := x.check(); err != nil {
			return err
		}
	}
	if x := s.Want; x != nil {
		n++
		if err := x.check(); err != nil {
			return err
		}
	}
	if len(s.Tell) > 0 {
		n++
		if len(s.Tell) > MaxTell {
			return fmt.Errorf("tell of %d bytes: %w", len(s.Tell), ErrBound)
		}
	}
	if n != 1 {
		// None is what a later version's signal looks like to this one.
		return fmt.Errorf("%d known signals: %w", n, ErrKind)
	}
	return nil
}

func checkForward(node keys.NodePublic, body []byte) error {
	if err := checkNode("node key", node); err != nil {
		return err
	}
	switch {
	case len(body) == 0:
		return fmt.Errorf("body: %w", ErrMissing)
	case len(body) > MaxForward:
		return fmt.Errorf("body of %d bytes: %w", len(body), ErrBound)
	}
	return nil
}
