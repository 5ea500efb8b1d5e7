package wgsetup

import (
	"context"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// backend is a WireGuard and its half of the side port. Links, addresses and
// routes are the host's. Methods are called under the Device's mutex, save for
// run, drops and those of redirects and kept ports.
type backend interface {
	kind() Backend
	// create makes the link; it does not exist.
	create(iface string, mtu int) error
	// adopt takes over a link that exists.
	adopt(iface string) error
	device() (*wgtypes.Device, error)
	configure(wgtypes.Config) error
	// openSide opens the side port on WireGuard's port, with its mark. The
	// link is up.
	openSide(port uint16, mark int) (SidePort, error)
	// follow tells the side port WireGuard's present port and mark.
	follow(port uint16, mark int) error
	// routedPorts are the UDP ports that the host's routes see what is ours leave
	// from.
	routedPorts() []uint16
	// hostChanged tells the side port that what leaves from one of several
	// addresses may have to leave from another.
	hostChanged()
	// run does what has to be done all the time until ctx ends.
	run(ctx context.Context) error
	canRedirect(from, to netip.AddrPort) bool
	// setRedirects makes these, normalized, all there are. It is called
	// without the Device's mutex, for it may take tens of milliseconds, and
	// after close too.
	setRedirects([]Redirect) error
	// setKept makes these, normalized, all there are, and holds their ports
	// where it does not use them itself. It is called as setRedirects is.
	setKept([]Kept, *heldPorts) error
	kept() []Kept
	drops() map[string]uint64
	icmpErrors() <-chan ICMPError
	// close gives back all but the link. An embedded link goes, too.
	close() error
}
