package wire

import (
	"fmt"
	"time"

	"github.com/credant/credant/discovery/wire/codec"
)

// MaxText is the longest text of an error. Before a request is proven its error
// has none: then it is shorter than the shortest request.
const MaxText = 100

// Code is why a relay refuses. The zero Code is none; a code of a later
// version is an unknown one, and the request is refused all the same.
type Code uint8

// The codes of errors.
const (
	CodeCookie      Code = iota + 1 // the cookie is too old, or not for this address: ask again
	CodeQuota                       // too much at once: not before RetryAfter
	CodeFull                        // no port is free for this pair
	CodeForbidden                   // the relay does not serve this network
	CodeUnknown                     // no such registration or allocation: register or allocate
	CodeUnsupported                 // no such operation
	CodeLeaving                     // the relay is about to stop
)

var codeNames = [...]string{
	CodeCookie: "cookie", CodeQuota: "quota", CodeFull: "full", CodeForbidden: "forbidden",
	CodeUnknown: "unknown", CodeUnsupported: "unsupported", CodeLeaving: "leaving",
}

// String returns the code's name.
func (c Code) String() string {
	if c == 0 || int(c) >= len(codeNames) {
		return fmt.Sprintf("code %d", uint8(c))
	}
	return codeNames[c]
}

// Error answers any request.
type Error struct {
	Code       Code
	Text       string // printable ASCII, for people
	RetryAfter time.Duration
}

// Error makes an Error an error.
func (e *Error) Error() string {
	if e.Text == "" {
		return "relay refuses: " + e.Code.String()
	}
	return "relay refuses: " + e.Code.String() + ": " + e.Text
}

type errorCBOR struct {
	Code       uint8         `cbor:"1,keyasint,omitempty"`
	Text       string        `cbor:"2,keyasint,omitempty"`
	RetryAfter codec.Seconds `cbor:"3,keyasint,omitempty"`
}

func (e *Error) check() error {
	switch {
	case e.Code == 0:
		return fmt.Errorf("code: %w", ErrMissing)
	case len(e.Text) > MaxText:
		return fmt.Errorf("text of %d bytes: %w", len(e.Text), ErrBound)
	case e.RetryAfter < 0 || e.RetryAfter > codec.Longest:
		return fmt.Errorf("retry after %v: %w", e.RetryAfter, ErrBound)
	}
	for i := range len(e.Text) {
		// It ends on a terminal.
		if c := e.Text[i]; c < ' ' || c > '~' {
			return fmt.Errorf("text %q: %w", e.Text, ErrBound)
		}
	}
	return nil
}
