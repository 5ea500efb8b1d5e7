package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/sideport"
)

// kernelBackend is the kernel's WireGuard, and the side port by nftables.
type kernelBackend struct {
	network string
	iface   string
	host    *host
	log     *slog.Logger
	wg      *wgctrl.Client
	side    *sideport.Conn
	swaps   *kernelRedirects
	keeps   *kernelKept
	mark    atomic.Uint32
}

func newKernelBackend(network string, h *host, log *slog.Logger) (backend, error) {
	wg, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("open WireGuard: %w", err)
	}
	return &kernelBackend{network: network, host: h, log: log, wg: wg}, nil
}

func (k *kernelBackend) kind() Backend { return Kernel }

func (k *kernelBackend) create(iface string, mtu int) error {
	k.iface = iface
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = iface, mtu
	return k.host.nl.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
}

func (k *kernelBackend) adopt(iface string) error {
	k.iface = iface
	return nil
}

func (k *kernelBackend) device() (*wgtypes.Device, error) { return k.wg.Device(k.iface) }

func (k *kernelBackend) configure(c wgtypes.Config) error {
	return k.wg.ConfigureDevice(k.iface, c)
}

func (k *kernelBackend) openSide(port uint16, mark int) (SidePort, error) {
	side, err := sideport.Open(sideport.Config{
		Table:     tableName(k.network, k.iface, "sideport"),
		Interface: k.iface,
		Port:      port,
		Mark:      mark,
		Log:       k.log,
	})
	if err != nil {
		return nil, err
	}
	k.side = side
	k.mark.Store(uint32(mark))
	if k.swaps, err = openKernelRedirects(tableName(k.network, k.iface, "swap"), port, k.local, k.log); err != nil {
		return nil, err
	}
	if k.keeps, err = openKernelKept(tableName(k.network, k.iface, keptPurpose), k.iface, port, k.log); err != nil {
		return nil, err
	}
	return side, nil
}

// keptPurpose is the last part of the name of the one table that outlives the
// process.
const keptPurpose = "kept"

// local returns the address where remote last reached the side port, or else
// the one that the route to it leaves from.
func (k *kernelBackend) local(remote netip.AddrPort) netip.Addr {
	if local := k.side.LocalFor(remote); local.IsValid() {
		return local
	}
	return k.host.sourceFor(remote.Addr(), k.mark.Load())
}

func (k *kernelBackend) canRedirect(from, to netip.AddrPort) bool {
	return from.Addr().Is4() == to.Addr().Is4() && !(to.Addr().Is6() && to.Addr().IsLinkLocalUnicast())
}

func (k *kernelBackend) setRedirects(all []Redirect) error { return k.swaps.setAll(all) }

func (k *kernelBackend) setKept(all []Kept, held *heldPorts) error { return k.keeps.setAll(all, held) }

func (k *kernelBackend) kept() []Kept { return k.keeps.all() }

func (k *kernelBackend) follow(port uint16, mark int) error {
	if k.keeps == nil {
		return nil
	}
	k.mark.Store(uint32(mark))
	return errors.Join(k.side.SetPort(port), k.side.SetMark(mark), k.swaps.setPort(port), k.keeps.setPort(port))
}

// routedPorts has the side port's own too: it becomes WireGuard's after the route was
// chosen.
func (k *kernelBackend) routedPorts() []uint16 {
	return []uint16{k.side.WireGuardPort(), k.side.OwnPort()}
}

func (k *kernelBackend) hostChanged() { k.side.HostChanged() }

func (k *kernelBackend) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.side.Run(ctx) })
	g.Go(func() error { return k.swaps.run(ctx) })
	g.Go(func() error { return k.keeps.run(ctx) })
	return g.Wait()
}

func (k *kernelBackend) drops() map[string]uint64 { return k.side.Drops() }

func (k *kernelBackend) icmpErrors() <-chan ICMPError { return k.side.Errors() }

func (k *kernelBackend) close() error {
	var err error
	if k.side != nil {
		err = k.side.Close()
	}
	if k.swaps != nil {
		err = errors.Join(err, k.swaps.close())
	}
	if k.keeps != nil {
		err = errors.Join(err, k.keeps.close())
	}
	return errors.Join(err, k.wg.Close())
}

// tablePrefix begins the names of all nftables tables of a network, whose name
// has no underscore.
func tablePrefix(network string) string { return "credant_" + network + "_" }

// tableName names a table by what it belongs to, so that a person who lists
// the ruleset knows, and Clean finds it.
func tableName(network, iface, purpose string) string {
	return tablePrefix(network) + iface + "_" + purpose
}

// portTaken says whether WireGuard could not have its port.
func portTaken(err error) bool { return errors.Is(err, unix.EADDRINUSE) }
