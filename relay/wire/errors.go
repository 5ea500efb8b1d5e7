package wire

import (
	"errors"

	"github.com/credant/credant/discovery/wire/codec"
)

// Why a frame was refused. Every error of a function that reads what came from
// the network wraps exactly one of these, and DropReason names it.
var (
	ErrVersion   = errors.New("unknown version")
	ErrKind      = errors.New("unexpected kind")
	ErrSize      = errors.New("wrong size")
	ErrSeal      = codec.ErrSeal
	ErrEncoding  = codec.ErrEncoding
	ErrMissing   = errors.New("missing field")
	ErrBound     = errors.New("value out of bounds")
	ErrSignature = errors.New("bad signature")
	ErrMismatch  = errors.New("answer to something else")
)

var dropReasons = []struct {
	err    error
	reason string
}{
	{ErrVersion, "version"},
	{ErrKind, "kind"},
	{ErrSize, "size"},
	{ErrSeal, "seal"},
	{ErrEncoding, "encoding"},
	{ErrMissing, "missing"},
	{ErrBound, "bound"},
	{ErrSignature, "signature"},
	{ErrMismatch, "mismatch"},
}

// DropReason is the one word under which a frame refused with err is counted:
// empty for nil, "other" for an error that is not this package's.
func DropReason(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range dropReasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "other"
}
