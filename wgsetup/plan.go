package wgsetup

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// target is everything that a device should be: what Open was told and what
// the last Apply wanted.
type target struct {
	iface   string
	alias   string
	key     wgtypes.Key
	port    uint16
	mark    int // zero: leave what is there
	mtu     int
	noIPv6  bool // the host has IPv6 switched off: leave it out
	desired Desired
	under   underlay // desired.Underlay as the host's present state allows it
}

// actual is what a device is.
type actual struct {
	exists    bool
	index     int
	alias     string
	key       wgtypes.Key
	port      uint16
	mark      int
	mtu       int
	up        bool
	addresses []netip.Prefix
	routes    []route
	peers     []actualPeer
	under     underlay
	exit      exitState
}

type route struct {
	prefix netip.Prefix
	mtu    int  // zero: the device's
	ours   bool // else the kernel's or an administrator's: there, and not to be removed
	subnet bool // with subnetMetric
}

type actualPeer struct {
	key        wgtypes.Key
	preshared  wgtypes.Key
	endpoint   netip.AddrPort
	allowedIPs []netip.Prefix
	keepalive  time.Duration
}

// plan returns the steps from a to t in the order in which they work: the link
// before what hangs on it, removals before additions, peers last. Equal inputs
// give no step.
func plan(t target, a actual) []Step {
	p := planner{iface: t.iface}
	p.link(t, a)
	p.rest(t, a)
	return p.steps
}

// planLink is the part of plan that Open needs: it leaves addresses, routes
// and peers of an adopted device alone.
func planLink(t target, a actual) []Step {
	p := planner{iface: t.iface}
	p.link(t, a)
	return p.steps
}

type planner struct {
	iface string
	steps []Step
}

func (p *planner) link(t target, a actual) {
	if !a.exists {
		a = actual{}
		p.add(Step{op: createLink})
	}
	if a.alias != t.alias {
		p.add(Step{op: setAlias, alias: t.alias})
	}
	if a.key != t.key {
		p.add(Step{op: setKey})
	}
	if a.port != t.port {
		p.add(Step{op: setPort, value: int(t.port)})
	}
	if t.mark != 0 && a.mark != t.mark {
		p.add(Step{op: setMark, value: t.mark})
	}
	if a.mtu != t.mtu {
		p.add(Step{op: setMTU, value: t.mtu})
	}
	if !a.up {
		// A link that goes down loses its routes and IPv6 addresses: what
		// was read of them while it was down still holds.
		p.add(Step{op: linkUp})
	}
}

func (p *planner) rest(t target, a actual) {
	if !a.exists {
		a = actual{}
	}
	keep := func(x netip.Prefix) bool { return !t.noIPv6 || x.Addr().Is4() }
	addresses := normalize(t.desired.Addresses, false, keep)
	routes := t.routes(keep)
	for _, r := range unwanted(a.routes, routes) {
		p.add(Step{op: removeRoute, prefix: r.prefix, subnet: r.subnet})
	}
	p.prefixes(removeAddress, missing(a.addresses, addresses))
	p.prefixes(addAddress, missing(addresses, a.addresses))
	// Routes to subnets may lead to where the underlay's go past them.
	p.underlay(t.under, a.under)
	p.routes(routes, a.routes)
	p.exit(t.exit(), a.exit)
	p.peers(t.desired.Peers, a.peers)
}

func (p *planner) add(s Step) {
	s.iface = p.iface
	p.steps = append(p.steps, s)
}

func (p *planner) prefixes(o op, list []netip.Prefix) {
	for _, x := range list {
		p.add(Step{op: o, prefix: x})
	}
}

func (p *planner) peers(want []Peer, have []actualPeer) {
	wanted := make(map[wgtypes.Key]bool, len(want))
	for _, w := range want {
		wanted[w.PublicKey] = true
	}
	there := make(map[wgtypes.Key]actualPeer, len(have))
	for _, h := range have {
		there[h.key] = h
		if !wanted[h.key] {
			p.add(Step{op: removePeer, peer: Peer{PublicKey: h.key}})
		}
	}
	for _, w := range want {
		h, ok := there[w.PublicKey]
		if !ok {
			p.add(Step{op: addPeer, peer: w})
			continue
		}
		if change := comparePeer(w, h); change != 0 {
			p.add(Step{op: updatePeer, peer: w, change: change})
		}
	}
}

func comparePeer(w Peer, h actualPeer) (change peerChange) {
	if w.PresharedKey != h.preshared {
		change |= changePresharedKey
	}
	if w.Keepalive.Truncate(time.Second) != h.keepalive {
		change |= changeKeepalive
	}
	if w.Endpoint.IsValid() && !h.endpoint.IsValid() {
		change |= changeEndpoint
	}
	want := normalize(w.AllowedIPs, true, nil)
	switch {
	case len(missing(h.allowedIPs, want)) > 0:
		change |= replaceAllowedIPs
	case len(missing(want, h.allowedIPs)) > 0:
		// Adding leaves no moment in which the others are gone.
		change |= addAllowedIPs
	}
	return change
}

// normalize sorts and removes doubles; masked also cuts host bits off, as the
// kernel does with routes and allowed IPs.
func normalize(list []netip.Prefix, masked bool, keep func(netip.Prefix) bool) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, x := range list {
		if keep != nil && !keep(x) {
			continue
		}
		if masked {
			x = x.Masked()
		}
		out = append(out, x)
	}
	slices.SortFunc(out, comparePrefix)
	return slices.Compact(out)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// missing returns what of a is not in b.
func missing(a, b []netip.Prefix) []netip.Prefix {
	in := make(map[netip.Prefix]bool, len(b))
	for _, x := range b {
		in[x] = true
	}
	var out []netip.Prefix
	for _, x := range a {
		if !in[x] {
			out = append(out, x)
		}
	}
	return out
}

// check refuses what the kernel would accept and turn into something else.
func (d Desired) check() error {
	for _, list := range [][]netip.Prefix{d.Addresses, d.Routes} {
		for _, x := range list {
			if !x.IsValid() || x.Addr().Is4In6() {
				return fmt.Errorf("apply: bad prefix %s", x)
			}
		}
	}
	peers := make(map[wgtypes.Key]bool, len(d.Peers))
	owners := make(map[netip.Prefix]wgtypes.Key)
	for _, p := range d.Peers {
		if peers[p.PublicKey] {
			return fmt.Errorf("apply: peer %s twice", p.PublicKey)
		}
		peers[p.PublicKey] = true
		if p.MTU < 0 || p.MTU > 0 && p.MTU < minRouteMTU || p.MTU > 65535 {
			return fmt.Errorf("apply: peer %s: MTU %d is not from %d to 65535", p.PublicKey, p.MTU, minRouteMTU)
		}
		if p.Keepalive < 0 || p.Keepalive > 65535*time.Second {
			return fmt.Errorf("apply: peer %s: keepalive of %s", p.PublicKey, p.Keepalive)
		}
		for _, ip := range p.AllowedIPs {
			if !ip.IsValid() || ip.Addr().Is4In6() {
				return fmt.Errorf("apply: peer %s: bad allowed IP %s", p.PublicKey, ip)
			}
			// WireGuard gives an allowed IP to whoever asked last, so two
			// owners would take it from each other at every Apply.
			ip = ip.Masked()
			if owner, ok := owners[ip]; ok && owner != p.PublicKey {
				return fmt.Errorf("apply: allowed IP %s of two peers, %s and %s", ip, owner, p.PublicKey)
			}
			owners[ip] = p.PublicKey
		}
	}
	if err := checkSubnets(d); err != nil {
		return err
	}
	return checkUnderlay(d.Underlay)
}
