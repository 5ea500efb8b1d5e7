package wgsetup

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/embedded"
)

// embeddedBackend is wireguard-go. Its side port outlives the TUN device when
// that is removed and made anew.
type embeddedBackend struct {
	host *host
	log  *slog.Logger
	side *embedded.SidePort

	made chan struct{} // has an element after dev was set

	mu        sync.Mutex // some methods come without the Device's mutex
	dev       *embedded.Device
	redirects map[netip.AddrPort]netip.AddrPort
	ports     []Kept
	unsure    bool // what was kept of ports failed: the next call tries again
}

func newEmbeddedBackend(h *host, log *slog.Logger) (backend, error) {
	side, err := embedded.NewSidePort()
	if err != nil {
		return nil, err
	}
	return &embeddedBackend{
		host: h,
		log:  log,
		side: side,
		made: make(chan struct{}, 1),
	}, nil
}

func (e *embeddedBackend) kind() Backend { return Embedded }

func (e *embeddedBackend) create(iface string, mtu int) error {
	if old := e.current(); old != nil {
		old.Close()
	}
	dev, err := embedded.Open(iface, mtu, e.side, e.log)
	if err != nil {
		return err
	}
	// Else the kernel gives the TUN device a link-local address and asks for
	// routers through it: packets that no peer may carry.
	if l, err := e.host.link(iface); err == nil {
		if err := e.host.nl.LinkSetIP6AddrGenMode(l, addrGenModeNone); err != nil {
			e.log.Debug("IPv6 link-local address not switched off", "iface", iface, "err", err)
		}
	}
	e.mu.Lock()
	e.dev = dev
	dev.SetRedirects(e.redirects)
	err = dev.SetKept(byRemote(e.ports))
	e.unsure = err != nil
	e.mu.Unlock()
	if err != nil {
		e.log.Warn("kept port is not to be had again", "iface", iface, "err", err)
	}
	select {
	case e.made <- struct{}{}:
	default:
	}
	return nil
}

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

func (e *embeddedBackend) adopt(string) error {
	return errors.New("an embedded device cannot be adopted: it goes with its process")
}

func (e *embeddedBackend) current() *embedded.Device {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dev
}

func (e *embeddedBackend) device() (*wgtypes.Device, error) {
	dev := e.current()
	if dev == nil {
		return nil, os.ErrNotExist
	}
	select {
	case <-dev.Done():
		return nil, os.ErrNotExist
	default:
		return dev.Device()
	}
}

func (e *embeddedBackend) configure(c wgtypes.Config) error {
	dev := e.current()
	if dev == nil {
		return os.ErrNotExist
	}
	return dev.ConfigureDevice(c)
}

func (e *embeddedBackend) openSide(uint16, int) (SidePort, error) { return e.side, nil }

// follow has nothing to do: the socket is WireGuard's own.
func (e *embeddedBackend) follow(uint16, int) error { return nil }

// routedPorts has the kept ones: they are sockets of their own.
func (e *embeddedBackend) routedPorts() []uint16 {
	kept := slices.Sorted(slices.Values(keptPorts(e.kept())))
	return append([]uint16{e.side.Port()}, slices.Compact(kept)...)
}

func (e *embeddedBackend) hostChanged() { e.side.HostChanged() }

// run lets wg(8) at the device. A host where it cannot, such as one that shares
// /run with another, loses nothing but that.
func (e *embeddedBackend) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.made:
		}
		if err := e.current().ServeUAPI(ctx); err != nil {
			e.log.Info("wg cannot show this device", "err", err)
		}
	}
}

func (e *embeddedBackend) canRedirect(_, _ netip.AddrPort) bool { return true }

func (e *embeddedBackend) setRedirects(all []Redirect) error {
	redirects := make(map[netip.AddrPort]netip.AddrPort, len(all))
	for _, r := range all {
		redirects[r.From] = r.To
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if maps.Equal(redirects, e.redirects) {
		return nil
	}
	e.redirects = redirects
	if e.dev != nil {
		e.dev.SetRedirects(redirects)
	}
	return nil
}

func (e *embeddedBackend) setKept(all []Kept, held *heldPorts) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Equal(all, e.ports) && !e.unsure {
		return nil
	}
	for _, k := range all {
		held.release(k.Port)
	}
	e.ports = all
	var err error
	if e.dev != nil {
		err = e.dev.SetKept(byRemote(all))
	}
	e.unsure = err != nil
	return err
}

func byRemote(all []Kept) map[netip.AddrPort]uint16 {
	ports := make(map[netip.AddrPort]uint16, len(all))
	for _, k := range all {
		ports[k.Remote] = k.Port
	}
	return ports
}

func (e *embeddedBackend) kept() []Kept {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ports)
}

func (e *embeddedBackend) drops() map[string]uint64 { return e.side.Drops() }

func (e *embeddedBackend) icmpErrors() <-chan ICMPError { return e.side.Errors() }

func (e *embeddedBackend) close() error {
	err := e.side.Close()
	if dev := e.current(); dev != nil {
		dev.Close()
	}
	return err
}
