package wgsetup

import "net/netip"

// CanRedirect says whether SetRedirects can take this one: with the embedded
// backend any, with the kernel within one family, and to no IPv6 link-local
// address.
func (d *Device) CanRedirect(from, to netip.AddrPort) bool {
	return from.IsValid() && to.IsValid() && d.backend.canRedirect(from, to)
}

// SetRedirects makes these all the redirects that there are. Setting the same
// again does nothing. They end with the Device, and with the process.
func (d *Device) SetRedirects(all []Redirect) error {
	redirects, err := normalizeRedirects(all)
	if err != nil {
		return err
	}
	return d.backend.setRedirects(redirects)
}
