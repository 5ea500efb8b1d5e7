package wire

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

const (
	clientTagSize    = 8
	responseHeadSize = headerSize + clientTagSize
	minResponse      = responseHeadSize + nonceSize + tagSize + ladder

	// MaxAddrs is how many addresses a relay names of itself.
	MaxAddrs = 8
)

// Response is what a relay answers: exactly one of the results.
type Response struct {
	Number uint32 // of the request
	Cookie Cookie // a fresh one for where the request came from; may be zero

	Registered *Registered
	Allocated  []Allocated // in the order of the request
	Bound      *Bound
	Refreshed  *Refreshed
	Done       bool // Release, Leave
	Error      *Error
}

// Registered answers Register.
type Registered struct {
	Lifetime time.Duration // whole seconds; 1 s or more
	Addrs    []netip.AddrPort
	// First and Last are the range of ports from which the relay allocates.
	First, Last uint16
	Others      int // how many other nodes of the network are registered
}

// Allocated answers for one peer of Allocate: Port, or why there is none.
type Allocated struct {
	Peer keys.NodePublic
	Port uint16
	Code Code
}

// Bound answers Bind.
type Bound struct {
	Peer      keys.NodePublic
	PeerBound bool // the other half is bound too: what is sent arrives
}

// Refreshed answers Refresh.
type Refreshed struct{ Others int }

type responseCBOR struct {
	Number     uint32          `cbor:"1,keyasint,omitempty"`
	Cookie     codec.Bytes24   `cbor:"2,keyasint,omitzero"`
	Registered *registeredCBOR `cbor:"3,keyasint,omitempty"`
	Allocated  []allocatedCBOR `cbor:"4,keyasint,omitempty"`
	Bound      *boundCBOR      `cbor:"5,keyasint,omitempty"`
	Refreshed  *refreshedCBOR  `cbor:"6,keyasint,omitempty"`
	Done       bool            `cbor:"7,keyasint,omitempty"`
	Error      *errorCBOR      `cbor:"8,keyasint,omitempty"`
}

type registeredCBOR struct {
	Lifetime codec.Seconds    `cbor:"1,keyasint,omitempty"`
	Addrs    []codec.AddrPort `cbor:"2,keyasint,omitempty"`
	First    uint16           `cbor:"3,keyasint,omitempty"`
	Last     uint16           `cbor:"4,keyasint,omitempty"`
	Others   uint16           `cbor:"5,keyasint,omitempty"`
}

type allocatedCBOR struct {
	Peer codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Port uint16        `cbor:"2,keyasint,omitempty"`
	Code uint8         `cbor:"3,keyasint,omitempty"`
}

type boundCBOR struct {
	Peer      codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	PeerBound bool          `cbor:"2,keyasint,omitempty"`
}

type refreshedCBOR struct {
	Others uint16 `cbor:"1,keyasint,omitempty"`
}

// ClientTag returns the tag in the clear of a response or push: the first bytes
// of the client's exchange key.
func ClientTag(b []byte) (tag [clientTagSize]byte, ok bool) {
	kind, ok := ParseHeader(b)
	if !ok || kind != KindResponse && kind != KindPush || len(b) < minResponse {
		return tag, false
	}
	return [clientTagSize]byte(b[headerSize:]), true
}

// SealResponse seals a response for the session's client.
func (s *Session) SealResponse(r Response) ([]byte, error) {
	return s.sealResponse(newNonce(), r)
}

func (s *Session) sealResponse(nonce [nonceSize]byte, r Response) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("seal response: %w", err)
	}
	b, err := seal(s.responseHead(KindResponse), &s.response, nonce, codec.Encode(r.encode()))
	if err != nil {
		return nil, fmt.Errorf("seal response: %w", err)
	}
	return b, nil
}

func (s *Session) responseHead(kind Kind) []byte {
	b := appendHeader(make([]byte, 0, MaxFrame), kind)
	return append(b, s.client[:clientTagSize]...)
}

// OpenResponse opens a response of the session's relay. Whether it answers
// anything is told by its number.
func (s *Session) OpenResponse(b []byte) (Response, error) {
	body, err := s.openTagged(b, KindResponse, &s.response)
	if err != nil {
		return Response{}, err
	}
	r, err := parseResponse(body)
	if err != nil {
		return Response{}, fmt.Errorf("open response: %w", err)
	}
	return r, nil
}

func (s *Session) openTagged(b []byte, kind Kind, key *[keySize]byte) ([]byte, error) {
	if err := checkHeader(b, kind, minResponse, MaxFrame); err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	if [clientTagSize]byte(b[headerSize:]) != [clientTagSize]byte(s.client[:]) {
		return nil, fmt.Errorf("open %v: tag of another client: %w", kind, ErrSeal)
	}
	body, err := codec.Open(b, responseHeadSize, key)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", kind, err)
	}
	return body, nil
}

func parseResponse(body []byte) (Response, error) {
	var c responseCBOR
	if err := decoder.Decode(body, &c); err != nil {
		return Response{}, err
	}
	r := c.decode()
	if err := r.check(); err != nil {
		return Response{}, err
	}
	return r, nil
}

func (r Response) check() error {
	n := 0
	for _, has := range []bool{r.Registered != nil, len(r.Allocated) > 0, r.Bound != nil, r.Refreshed != nil, r.Done, r.Error != nil} {
		if has {
			n++
		}
	}
	switch {
	case r.Number == 0:
		return fmt.Errorf("number: %w", ErrMissing)
	case n == 0:
		return fmt.Errorf("no known result: %w", ErrKind)
	case n > 1:
		return fmt.Errorf("%d results: %w", n, ErrBound)
	case r.Registered != nil:
		return r.Registered.check()
	case r.Allocated != nil:
		return checkAllocated(r.Allocated)
	case r.Bound != nil:
		return checkNode("bound peer", r.Bound.Peer)
	case r.Refreshed != nil && (r.Refreshed.Others < 0 || r.Refreshed.Others > maxOthers):
		return fmt.Errorf("%d others: %w", r.Refreshed.Others, ErrBound)
	case r.Error != nil:
		return r.Error.check()
	}
	return nil
}

const maxOthers = 1<<16 - 1

func (r *Registered) check() error {
	switch {
	case r.Lifetime < time.Second || r.Lifetime > codec.Longest:
		return fmt.Errorf("lifetime %v: %w", r.Lifetime, ErrBound)
	case len(r.Addrs) > MaxAddrs:
		return fmt.Errorf("%d addresses: %w", len(r.Addrs), ErrBound)
	case r.First == 0 || r.First > r.Last:
		return fmt.Errorf("ports %d to %d: %w", r.First, r.Last, ErrBound)
	case r.Others < 0 || r.Others > maxOthers:
		return fmt.Errorf("%d others: %w", r.Others, ErrBound)
	}
	for _, a := range r.Addrs {
		if !codec.ValidEndpoint(a) {
			return fmt.Errorf("relay address %v: %w", a, ErrBound)
		}
	}
	return nil
}

func checkAllocated(list []Allocated) error {
	if len(list) > MaxPeers {
		return fmt.Errorf("%d allocations: %w", len(list), ErrBound)
	}
	for _, a := range list {
		if err := checkNode("allocation's peer", a.Peer); err != nil {
			return err
		}
		if (a.Port == 0) == (a.Code == 0) {
			return fmt.Errorf("allocation of port %d, code %d: %w", a.Port, a.Code, ErrBound)
		}
	}
	return nil
}

func (r Response) encode() responseCBOR {
	c := responseCBOR{Number: r.Number, Cookie: codec.Bytes24(r.Cookie), Done: r.Done}
	switch {
	case r.Registered != nil:
		g := r.Registered
		c.Registered = &registeredCBOR{codec.NewSeconds(g.Lifetime), nil, g.First, g.Last, uint16(g.Others)}
		for _, a := range g.Addrs {
			c.Registered.Addrs = append(c.Registered.Addrs, codec.NewAddrPort(a))
		}
	case r.Allocated != nil:
		for _, a := range r.Allocated {
			c.Allocated = append(c.Allocated, allocatedCBOR{codec.Bytes32(a.Peer), a.Port, uint8(a.Code)})
		}
	case r.Bound != nil:
		c.Bound = &boundCBOR{codec.Bytes32(r.Bound.Peer), r.Bound.PeerBound}
	case r.Refreshed != nil:
		c.Refreshed = &refreshedCBOR{uint16(r.Refreshed.Others)}
	case r.Error != nil:
		c.Error = &errorCBOR{uint8(r.Error.Code), r.Error.Text, codec.NewSeconds(r.Error.RetryAfter)}
	}
	return c
}

func (c responseCBOR) decode() Response {
	r := Response{Number: c.Number, Cookie: Cookie(c.Cookie), Done: c.Done}
	if g := c.Registered; g != nil {
		r.Registered = &Registered{Lifetime: g.Lifetime.Duration(), First: g.First, Last: g.Last, Others: int(g.Others)}
		for _, a := range g.Addrs {
			r.Registered.Addrs = append(r.Registered.Addrs, a.AddrPort)
		}
	}
	for _, a := range c.Allocated {
		r.Allocated = append(r.Allocated, Allocated{keys.NodePublic(a.Peer), a.Port, Code(a.Code)})
	}
	if c.Bound != nil {
		r.Bound = &Bound{keys.NodePublic(c.Bound.Peer), c.Bound.PeerBound}
	}
	if c.Refreshed != nil {
		r.Refreshed = &Refreshed{int(c.Refreshed.Others)}
	}
	if e := c.Error; e != nil {
		r.Error = &Error{Code(e.Code), e.Text, e.RetryAfter.Duration()}
	}
	return r
}
