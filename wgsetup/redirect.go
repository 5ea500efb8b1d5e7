package wgsetup

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Redirect makes WireGuard's datagrams from From look as if they came from To,
// so that those still on their way over an old path do not take the peer's
// endpoint back there. Other datagrams keep their source.
type Redirect struct{ From, To netip.AddrPort }

// maxRedirects bounds a device's redirects. A swap has one, for seconds.
// All of them go into one netlink message.
const maxRedirects = 512

func errRedirect(r Redirect, err error) error {
	return fmt.Errorf("set redirect from %s to %s: %w", r.From, r.To, err)
}

// normalizeRedirects refuses what cannot be meant and returns the rest in one
// order, unmapped.
func normalizeRedirects(all []Redirect) ([]Redirect, error) {
	if len(all) > maxRedirects {
		return nil, fmt.Errorf("set redirects: %d are more than %d", len(all), maxRedirects)
	}
	unmap := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	sorted := make([]Redirect, 0, len(all))
	for _, r := range all {
		r = Redirect{unmap(r.From), unmap(r.To)}
		if !r.From.IsValid() || !r.To.IsValid() {
			return nil, errRedirect(r, errors.New("no address"))
		}
		if r.From != r.To {
			sorted = append(sorted, r)
		}
	}
	slices.SortFunc(sorted, func(a, b Redirect) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To))
	})
	sorted = slices.Compact(sorted)
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.From == b.From {
			return nil, errRedirect(a, fmt.Errorf("it has another to %s", b.To))
		}
	}
	return sorted, nil
}
