package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// check applies every bound that needs nothing but the record.
// checkNode refuses a node key that names nobody. The key of a relay is held to
// the same.
func checkNode(what string, key [32]byte) error {
	switch {
	case key == [32]byte{}:
		return fmt.Errorf("%s: %w", what, ErrMissing)
	case keys.SmallOrder(key):
		return fmt.Errorf("%s is of small order: %w", what, ErrBound)
	}
	return nil
}

func (r Record) check() error {
	if err := checkNode("node key", r.Node); err != nil {
		return err
	}
	switch {
	case r.WireGuard == wgtypes.Key{}:
		return fmt.Errorf("WireGuard key: %w", ErrMissing)
	case r.Probe.IsZero():
		return fmt.Errorf("probe key: %w", ErrMissing)
	case r.Seq == 0:
		return fmt.Errorf("sequence number: %w", ErrMissing)
	case r.Lifetime < time.Second || r.Lifetime > MaxLifetime:
		return fmt.Errorf("lifetime %v: %w", r.Lifetime, ErrBound)
	case r.Name != "" && !validLabel(r.Name):
		return fmt.Errorf("name %q: %w", r.Name, ErrBound)
	case r.Subnet.IsValid() && !validSubnet(r.Subnet):
		return fmt.Errorf("subnet %v: %w", r.Subnet, ErrBound)
	}
	for _, l := range []struct {
		name     string
		n, limit int
	}{
		{"addresses", len(r.Addresses), MaxAddresses},
		{"routes", len(r.Routes), MaxRoutes},
		{"candidates", len(r.Candidates), MaxCandidates},
		{"relays", len(r.Relays), MaxRelays},
		{"capabilities", len(r.Capabilities), MaxCapabilities},
		{"aliases", len(r.Aliases), MaxAliases},
	} {
		if l.n > l.limit {
			return fmt.Errorf("%d %s, at most %d: %w", l.n, l.name, l.limit, ErrBound)
		}
	}
	return r.checkLists()
}

func (r Record) checkLists() error {
	for i, a := range r.Addresses {
		if !validOverlay(a.Addr) {
			return fmt.Errorf("overlay address %v: %w", a.Addr, ErrBound)
		}
		if slices.ContainsFunc(r.Addresses[:i], func(b AddressClaim) bool { return a.Addr == b.Addr }) {
			return fmt.Errorf("overlay address %v twice: %w", a.Addr, ErrBound)
		}
	}
	for _, p := range r.Routes {
		if !p.IsValid() || p != p.Masked() {
			return fmt.Errorf("route %v: %w", p, ErrBound)
		}
	}
	for _, c := range r.Candidates {
		// A type of a later version is passed over, but its place is counted.
		if c.Type.known() && !codec.ValidEndpoint(c.Addr) {
			return fmt.Errorf("candidate %v: %w", c.Addr, ErrBound)
		}
	}
	for _, x := range r.Relays {
		if keys.SmallOrder(x.Key) || !codec.ValidEndpoint(x.Addr) {
			return fmt.Errorf("relay %v: %w", x.Addr, ErrBound)
		}
	}
	for _, c := range r.Capabilities {
		if !validCapability(c) {
			return fmt.Errorf("capability %q: %w", c, ErrBound)
		}
	}
	for i, a := range r.Aliases {
		if a == "" || !validLabel(a) || a == r.Name || slices.Contains(r.Aliases[:i], a) {
			return fmt.Errorf("alias %q: %w", a, ErrBound)
		}
	}
	return nil
}

// checkAddress6 holds the record to the IPv6 address that its key has, and
// others to those that no key has.
func (r Record) checkAddress6(prefix6 netip.Prefix) error {
	own, have := keys.Address6(prefix6, r.Node), false
	for _, a := range r.Addresses {
		switch {
		case !a.Addr.Is6():
		case a.Addr == own:
			have = true
		case !keys.Choosable6(prefix6, a.Addr):
			return fmt.Errorf("overlay address %v: %w", a.Addr, ErrAddress)
		}
	}
	if !have {
		return fmt.Errorf("no IPv6 overlay address: %w", ErrAddress)
	}
	return nil
}

func (r *Record) dropUnknown() {
	r.Candidates = slices.DeleteFunc(r.Candidates, func(c Candidate) bool { return !c.Type.known() })
	if len(r.Candidates) == 0 {
		r.Candidates = nil
	}
}

// validLabel reports whether s is a lower-case DNS label: safe in a host name,
// on a terminal and in a file.
func validLabel(s string) bool {
	if len(s) > maxNameLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !letterOrDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func validCapability(s string) bool {
	if s == "" || len(s) > maxCapability {
		return false
	}
	for i := range len(s) {
		if !letterOrDigit(s[i]) && s[i] != '-' && s[i] != '.' && s[i] != '/' && s[i] != '=' {
			return false
		}
	}
	return true
}

func letterOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func validSubnet(p netip.Prefix) bool {
	return p.Addr().Is4() && p == p.Masked() && p.Bits() >= 8 && p.Bits() <= 30
}

// validOverlay reports whether an interface could carry the address.
func validOverlay(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && a.IsGlobalUnicast()
}
