package keys

import "errors"

// ErrNetworkName is returned for a network name that ValidNetworkName refuses.
var ErrNetworkName = errors.New("network name must be 1 to 32 of a-z, 0-9 and -, and begin and end with a letter or digit")

// maxNetworkName leaves room in a DNS label, an interface mark and a salt.
const maxNetworkName = 32

// ValidNetworkName reports why s cannot name a network, or nil. A name matches
// [a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?, so it is a DNS label as it stands.
func ValidNetworkName(s string) error {
	if s == "" || len(s) > maxNetworkName || s[0] == '-' || s[len(s)-1] == '-' {
		return ErrNetworkName
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ErrNetworkName
		}
	}
	return nil
}
