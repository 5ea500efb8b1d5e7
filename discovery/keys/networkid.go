package keys

import (
	"fmt"
	"strings"
)

// ParseNetworkID reads what NetworkID.String wrote, in either case. An id of
// small order is refused, as the zero one is: everybody could sign for it.
func ParseNetworkID(s string) (NetworkID, error) {
	b, err := base32Lower.DecodeString(strings.ToLower(s))
	if err != nil || len(b) != len(NetworkID{}) {
		return NetworkID{}, fmt.Errorf("parse network id %q: want %d base32 characters", s, base32Lower.EncodedLen(len(NetworkID{})))
	}
	id := NetworkID(b)
	// The last character has bits to spare: one id has one spelling.
	if SmallOrder(id) || id.String() != strings.ToLower(s) {
		return NetworkID{}, fmt.Errorf("parse network id %q: no such id", s)
	}
	return id, nil
}
