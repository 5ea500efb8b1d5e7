package codec

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Why bytes were refused. Each error of this package wraps exactly one of these.
var (
	ErrSeal     = errors.New("seal does not open")
	ErrEncoding = errors.New("malformed encoding")
)

// MaxItems bounds one array, and the pairs of one map.
const MaxItems = 32

var encoder = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("codec: " + err.Error())
	}
	return m
}()

// Encode writes core deterministic CBOR: one value has one encoding, so that
// vectors can be compared byte for byte. It panics where v has a type that CBOR
// does not know.
func Encode(v any) []byte {
	b, err := encoder.Marshal(v)
	if err != nil {
		panic("codec: encode: " + err.Error()) // the types are ours, so it is a defect
	}
	return b
}

// Decoder reads bodies. Make it with NewDecoder.
type Decoder struct{ mode cbor.DecMode }

// NewDecoder makes a decoder of bodies nested at most levels deep, 4 or more.
// It refuses what no sender has a use for, before any bound of a field applies.
func NewDecoder(levels int) Decoder {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  levels,
		MaxArrayElements: MaxItems,
		MaxMapPairs:      MaxItems,
	}.DecMode()
	if err != nil {
		panic("codec: " + err.Error())
	}
	return Decoder{m}
}

// Decode reads all of b into v. Unknown keys are passed over: they are how later
// versions add fields.
func (d Decoder) Decode(b []byte, v any) error {
	err := d.mode.Unmarshal(b, v)
	if err != nil && !errors.Is(err, ErrEncoding) {
		err = fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return err
}
