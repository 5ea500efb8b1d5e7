package wire

import "fmt"

const causeSize = 16

// ResetSize is the size of a reset.
const ResetSize = headerSize + causeSize

// AppendReset appends a reset to dst: it tells the sender of cause that it
// could not be served. A reset is shorter than its cause, so it cannot be used
// to amplify and two relays cannot play ping-pong with it: dst comes back as it
// was where cause is no longer than a reset.
func AppendReset(dst, cause []byte) []byte {
	if len(cause) <= ResetSize {
		return dst
	}
	return append(appendHeader(dst, KindReset), cause[:causeSize]...)
}

// ParseReset returns how the datagram began that could not be served. Nobody
// signs a reset: it is a hint.
func ParseReset(b []byte) (cause [causeSize]byte, err error) {
	if err := checkHeader(b, KindReset, ResetSize, ResetSize); err != nil {
		return cause, fmt.Errorf("parse %w", err)
	}
	return [causeSize]byte(b[headerSize:]), nil
}

// CauseOf is what a reset of b would hold. b has at least 16 bytes.
func CauseOf(b []byte) [causeSize]byte { return [causeSize]byte(b) }
