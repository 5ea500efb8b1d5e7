package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/firewall"
)

// openings keep the host's own firewall open for what is forwarded. Its tools
// may take seconds, so they run beside the Device: in Run, and at the end.
type openings struct {
	host    firewall.Host
	changed chan struct{}

	running sync.Mutex // held while tools run

	mu     sync.Mutex
	want   *firewall.Opening // nil: none
	text   string            // of want
	used   bool              // something may be open
	advice []string
	ended  bool
	cancel context.CancelFunc // of tools that run
}

// endLimit bounds what tools take at the end.
const endLimit = 30 * time.Second

// set says what is to be open. Saying the same again does nothing.
func (o *openings) set(want *firewall.Opening) {
	text := ""
	if want != nil {
		text = fmt.Sprint(*want)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if text == o.text {
		return
	}
	o.want, o.text = want, text
	signal(o.changed)
}

// left says that an earlier start may have opened something.
func (o *openings) left() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used = true
	signal(o.changed)
}

// again looks whether somebody closed it.
func (o *openings) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.want != nil {
		signal(o.changed)
	}
}

func (o *openings) given() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.advice)
}

// run follows what is wanted until ctx ends.
func (o *openings) run(ctx context.Context, d *Device) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.changed:
		}
		o.follow(ctx, d)
	}
}

func (o *openings) follow(ctx context.Context, d *Device) {
	o.running.Lock()
	defer o.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.mu.Lock()
	want, used := o.want, o.used
	o.used = used || want != nil
	o.cancel = cancel
	ended := o.ended
	o.mu.Unlock()
	if ended {
		return
	}
	var r firewall.Result
	var err error
	inErr := d.host.inNamespace(func() {
		switch {
		case want != nil:
			r, err = o.host.Open(ctx, *want)
		case used:
			_, err = o.host.Close(ctx, d.config.Network)
		}
	})
	if ctx.Err() != nil {
		return
	}
	if err = errors.Join(inErr, err); err != nil {
		r.Advice = append(r.Advice, "the host's firewall was not opened for what this host forwards: "+oneLine(err)+": open it by hand, or see the log: it is tried again")
	}
	if len(r.Opened) > 0 {
		d.log.Info("firewall opened", "iface", want.Interface, "tools", r.Opened)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range r.Advice {
		if !slices.Contains(o.advice, a) {
			d.log.Warn("firewall is closed", "iface", want.Interface, "err", a)
		}
	}
	o.advice = r.Advice
	o.used = want != nil || err != nil
}

// end lets no tool run any more, after those that close what may be open.
func (o *openings) end(d *Device, remove bool) (err error) {
	o.mu.Lock()
	used := o.used || o.want != nil
	o.ended = true
	if o.cancel != nil {
		o.cancel()
	}
	o.mu.Unlock()
	o.running.Lock()
	defer o.running.Unlock()
	if !used || !remove {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	inErr := d.host.inNamespace(func() { _, err = o.host.Close(ctx, d.config.Network) })
	return errors.Join(inErr, err)
}

// opening is what a Forward takes.
func (t target) opening(network string, links func([]netip.Prefix) []string) *firewall.Opening {
	f := t.desired.Forward
	if f == nil || len(f.Advertised) == 0 && !f.Exit {
		return nil
	}
	to := normalize(f.Advertised, true, nil)
	if f.Exit {
		to = append(to, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return &firewall.Opening{Network: network, Interface: t.iface, Sources: normalize(t.desired.Routes, true, nil), To: to, Links: links(to)}
}

// linksTo returns the links by which the host reaches networks; a /0 is the
// internet.
func (h *host) linksTo(networks []netip.Prefix) []string {
	var names []string
	for _, x := range networks {
		to := []net.IP{x.Addr().Next().AsSlice()}
		if x.Bits() == 0 {
			to = slices.DeleteFunc(slices.Clone(outside), func(ip net.IP) bool { return (ip.To4() != nil) != x.Addr().Is4() })
		} else if x.IsSingleIP() {
			to[0] = x.Addr().AsSlice()
		}
		for _, ip := range to {
			routes, err := h.nl.RouteGetWithOptions(ip, &netlink.RouteGetOptions{Mark: Mark})
			if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
				continue
			}
			if l, err := h.nl.LinkByIndex(routes[0].LinkIndex); err == nil && !slices.Contains(names, l.Attrs().Name) {
				names = append(names, l.Attrs().Name)
			}
		}
	}
	slices.Sort(names)
	return names
}
