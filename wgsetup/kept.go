package wgsetup

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Kept makes Port the source port of everything that goes to Remote, of
// WireGuard's datagrams and the side port's, and has what Remote sends to Port
// reach them. So a NAT mapping that an extra port (OpenPorts) won towards
// Remote becomes the node's own.
type Kept struct {
	Remote netip.AddrPort
	Port   uint16
}

// maxKept bounds a device's kept ports: one a peer that is reached only through
// a mapping of its own. All of them go into one netlink message.
const maxKept = 512

// normalizeKept refuses what cannot be meant and returns the rest in one order,
// unmapped.
func normalizeKept(all []Kept) ([]Kept, error) {
	if len(all) > maxKept {
		return nil, fmt.Errorf("keep ports: %d are more than %d", len(all), maxKept)
	}
	sorted := make([]Kept, 0, len(all))
	for _, k := range all {
		addr := k.Remote.Addr().Unmap()
		k.Remote = netip.AddrPortFrom(addr, k.Remote.Port())
		switch {
		case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" || k.Remote.Port() == 0:
			return nil, fmt.Errorf("keep port %d towards %s: not one host's address", k.Port, k.Remote)
		case k.Port == 0:
			return nil, fmt.Errorf("keep port towards %s: no port", k.Remote)
		}
		sorted = append(sorted, k)
	}
	slices.SortFunc(sorted, func(a, b Kept) int {
		return cmp.Or(a.Remote.Compare(b.Remote), cmp.Compare(a.Port, b.Port))
	})
	sorted = slices.Compact(sorted)
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.Remote == b.Remote {
			return nil, fmt.Errorf("keep port %d towards %s: it has port %d", b.Port, b.Remote, a.Port)
		}
	}
	return sorted, nil
}
