package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nft"
	"github.com/credant/credant/wgsetup/sideport"
)

// namePrefix and a number name a device that Config does not.
const namePrefix = "credant"

// portTries bounds the search for a free port.
const portTries = 256

// Open makes the device of a network, or adopts what carries its mark, and
// opens its side port. The link is up when it returns. An adopted device keeps
// its addresses, routes, peers and sessions until Apply. What Open made it takes
// away again when it fails.
func Open(ctx context.Context, c Config) (*Device, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	kind, err := choose(c.Backend)
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, c, kind)
	if err != nil && kind == Kernel && c.Backend != Kernel && errors.Is(err, errNoSidePort) {
		c.Log.Warn("kernel WireGuard without a side port: using the embedded one", "err", err)
		d, err = open(ctx, c, Embedded)
	}
	return d, err
}

// errNoSidePort means that the kernel has WireGuard but not the nftables that
// the side port takes.
var errNoSidePort = errors.New("no side port")

func open(ctx context.Context, c Config, kind Backend) (_ *Device, err error) {
	h, err := openHost()
	if err != nil {
		return nil, err
	}
	d := &Device{
		config:   c,
		host:     h,
		log:      c.Log,
		changes:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		openings: openings{changed: make(chan struct{}, 1)},
		hosting:  hostSide{make: nft.OpenLasting, opened: make(chan *nft.Table, 1)},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.abandon())
		}
	}()
	switch kind {
	case Kernel:
		d.backend, err = newKernelBackend(c.Network, h, c.Log)
	default:
		d.backend, err = newEmbeddedBackend(h, c.Log)
	}
	if err != nil {
		return nil, err
	}
	if d.watch, err = newWatch(); err != nil {
		return nil, err
	}
	if removed, err := h.cleanSockets(); len(removed) > 0 || err != nil {
		d.log.Debug("sockets of killed processes removed", "sockets", removed, "err", err)
	}
	if err := d.makeLink(ctx); err != nil {
		return nil, err
	}
	a, err := d.read()
	if err != nil {
		return nil, err
	}
	d.index, d.mark = a.index, a.mark
	if d.side, err = d.backend.openSide(d.target.port, a.mark); err != nil {
		return nil, fmt.Errorf("open device %s: %w: %w", d.target.iface, errNoSidePort, err)
	}
	// What the new device's predecessor kept was for other sessions. What an
	// adopted one keeps is repaired and held from now on.
	var kept []Kept
	if d.adopted {
		kept = d.backend.kept()
	}
	if err := d.backend.setKept(kept, &d.held); err != nil {
		return nil, fmt.Errorf("open device %s: %w", d.target.iface, err)
	}
	d.seen = h.snapshot()
	return d, nil
}

// makeLink makes or adopts the link. Another network's start may take the name
// that was free a moment ago.
func (d *Device) makeLink(ctx context.Context) error {
	for tries := 1; ; tries++ {
		if err := d.findLink(); err != nil {
			return err
		}
		err := d.takePort(ctx)
		nameTaken := errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
		if err == nil || !nameTaken || d.created || d.config.Interface != "" || tries == 8 {
			return err
		}
	}
}

// findLink decides on the name, and whether the link is there already.
func (d *Device) findLink() error {
	c := d.config
	d.target = target{
		iface: c.Interface,
		alias: alias(c.Network),
		key:   c.PrivateKey,
		port:  c.Port,
		mark:  c.FirewallMark,
		mtu:   c.MTU,
	}
	links, err := d.host.links()
	if err != nil {
		return err
	}
	names := make(map[string]netlink.Link, len(links))
	var ours netlink.Link
	for _, l := range links {
		names[l.Attrs().Name] = l
		if l.Attrs().Alias == d.target.alias {
			ours = l
		}
	}
	switch {
	case ours != nil:
		return d.takeOver(ours)
	case c.Interface != "" && names[c.Interface] != nil:
		return fmt.Errorf("open device: %s exists and is not CredAnt's: choose another --interface", c.Interface)
	case c.Interface != "":
		return nil
	}
	for n := 0; ; n++ {
		name := namePrefix + strconv.Itoa(n)
		if names[name] == nil {
			d.target.iface = name
			return nil
		}
	}
}

// takeOver adopts a link with our mark, or clears it away for the other
// backend.
func (d *Device) takeOver(l netlink.Link) error {
	name := l.Attrs().Name
	if d.target.iface != "" && d.target.iface != name {
		return fmt.Errorf("open device: network %s has %s already: run `credant down` before changing --interface", d.config.Network, name)
	}
	d.target.iface = name
	if l.Type() != "wireguard" {
		return fmt.Errorf("open device: %s of network %s is in use by a running process", name, d.config.Network)
	}
	if d.backend.kind() == Kernel {
		d.adopted = true
		return d.backend.adopt(name)
	}
	d.log.Info("replacing the kernel's WireGuard device by an embedded one", "iface", name)
	if err := removeKept(d.config.Network, name); err != nil {
		return err
	}
	return d.host.remove(name)
}

// takePort carries out the plan for the link with the first port from the
// wanted one on that is free for both families.
func (d *Device) takePort(ctx context.Context) error {
	a, err := d.read()
	if err != nil {
		return err
	}
	bound := uint16(0) // WireGuard itself has it
	if d.adopted && a.up {
		bound = a.port
	}
	if d.target.port == 0 {
		d.target.port = bound
	}
	random := d.target.port == 0
	if random {
		d.target.port = sideport.RandomPort()
	}
	wanted := d.target.port
	for range portTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.target.port == bound || portFree(d.target.port) {
			_, err := d.apply(planLink(d.target, a))
			if !portTaken(err) {
				if err == nil && d.target.port != wanted && !random {
					d.log.Warn("port is taken: using the next free one", "wanted", wanted, "port", d.target.port)
				}
				return err
			}
			// Somebody was quicker.
			if a, err = d.read(); err != nil {
				return err
			}
		}
		d.target.port++
		if d.target.port < 1024 {
			d.target.port = 1024
		}
	}
	return fmt.Errorf("open device: none of %d ports from %d on is free", portTries, wanted)
}

// portFree tries the port in both families, as WireGuard takes it.
func portFree(port uint16) bool {
	var held []net.PacketConn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for _, network := range []string{"udp4", "udp6"} {
		addr := netip.IPv4Unspecified()
		if network == "udp6" {
			addr = netip.IPv6Unspecified()
		}
		c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		switch {
		case err == nil:
			held = append(held, c)
		case errors.Is(err, syscall.EADDRINUSE):
			return false
		}
		// Any other error is of the family, not of the port.
	}
	return true
}

// abandon undoes what a failed open did.
func (d *Device) abandon() error {
	var errs []error
	if d.backend != nil {
		errs = append(errs, d.backend.close())
	}
	if d.created {
		errs = append(errs, d.host.remove(d.target.iface))
		_, err := d.host.cleanUnderlay(tableOf(d.config.Network))
		errs = append(errs, err)
	}
	if d.watch != nil {
		errs = append(errs, d.watch.close())
	}
	errs = append(errs, d.hosting.close())
	d.held.close()
	d.host.close()
	return errors.Join(errs...)
}

// read returns what the device is.
func (d *Device) read() (actual, error) {
	var a actual
	if d.target.iface == "" {
		return a, nil
	}
	if err := d.host.read(d.target.iface, &a); err != nil || !a.exists {
		return a, err
	}
	if d.index != 0 && a.index != d.index && a.alias != d.target.alias {
		return a, fmt.Errorf("read %s: somebody else made a link of this name", d.target.iface)
	}
	dev, err := d.backend.device()
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV):
		return actual{}, nil
	case err != nil:
		return a, fmt.Errorf("read %s: %w", d.target.iface, err)
	}
	a.key = dev.PrivateKey
	a.port = uint16(dev.ListenPort)
	a.mark = dev.FirewallMark
	for _, p := range dev.Peers {
		a.peers = append(a.peers, readPeer(p))
	}
	return a, nil
}
