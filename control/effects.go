package control

import (
	"errors"
	"net/netip"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// effects are what the mesh wants done, in this order: the device first, so
// that nothing is answered before WireGuard knows the peer.
type effects struct {
	apply     bool // the device differs from what desired now returns
	redirect  bool // the device's redirects differ from redirects
	redirects []wgsetup.Redirect
	endpoints []endpointChange
	sends     []outgoing
	resets    []wgtypes.Key
	nudges    []wgtypes.Key
	look      bool // tell the mesh the device's counters
	kick      bool // the sources should look with all speed again
	remember  bool // what memory holds has changed
	pins      bool // which node a setting's name means has changed
	names     bool // who is found by which name at which address may have changed
	notes     noteWants
	punch     []natpunch.Action // what concerns ports besides the node's own
	events    []localapi.Event
}

type endpointChange struct {
	peer wgtypes.Key
	addr netip.AddrPort
}

type outgoing struct {
	from netip.Addr // zero: wherever the host routes
	to   netip.AddrPort
	data []byte
}

// steering is what a device can be told about a peer that it has.
type steering interface {
	SetRedirects([]wgsetup.Redirect) error
	SetEndpoint(peer wgtypes.Key, addr netip.AddrPort) error
	Reset(peer wgtypes.Key) error
	Nudge(peer wgtypes.Key) error
}

// steer carries out what concerns single peers. A datagram that cannot be sent
// is no error: the machines behind it count on loss.
func (e effects) steer(device steering, send func(outgoing) error) error {
	var errs []error
	if e.redirect {
		errs = append(errs, device.SetRedirects(e.redirects))
	}
	for _, c := range e.endpoints {
		errs = append(errs, device.SetEndpoint(c.peer, c.addr))
	}
	for _, s := range e.sends {
		_ = send(s)
	}
	for _, peer := range e.resets {
		errs = append(errs, device.Reset(peer))
	}
	for _, peer := range e.nudges {
		errs = append(errs, device.Nudge(peer))
	}
	return errors.Join(errs...)
}
