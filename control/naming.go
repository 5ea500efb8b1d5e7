package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/control/names"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/dns"
	"github.com/credant/credant/dns/hostdns"
	"github.com/credant/credant/dns/zone"
)

// naming lets this host find the nodes by name: a server of the network's names,
// and the host's own resolver pointed at it.
type naming struct {
	server *dns.Server
	host   *hostdns.Host

	// What the loop gave out last.
	nodes    []zone.Node
	prefixes []netip.Prefix
	listen   []netip.AddrPort
	held     map[string]string
	serial   uint32

	mu      sync.Mutex
	served  []netip.AddrPort
	entries []hostdns.Entry
}

func (d *daemon) newNaming() *naming {
	network := d.config.Network
	// The clock makes zones newer than those of the last start (RFC 1912, Section 2.2).
	n := &naming{held: d.mesh.names.Held(), serial: uint32(time.Now().Unix())}
	n.server = dns.NewServer(dns.Config{Listen: d.mesh.nameServers(network), Changed: n.serves, Log: d.log})
	n.host = hostdns.New(hostdns.Config{
		Network: network, Interface: d.device.Name(), Domain: zone.Domain(network),
		Reverse: zone.ReverseZones(d.mesh.prefixes()), Mode: d.config.DNS,
		Record: resolverRecord(d.config.StateDir, network), Log: d.log,
	})
	return n
}

// resolverRecord is the file that says what was changed of the host's resolver.
func resolverRecord(stateDir, network string) string {
	return filepath.Join(networkDir(stateDir, network), "resolver.json")
}

// pointHost keeps the host's resolver pointed at the server. A daemon that
// detaches leaves it so, for the next one to take over.
func (d *daemon) pointHost(ctx context.Context) error {
	inner, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrDetach) {
			end(hostdns.ErrKeep)
		} else {
			end(nil)
		}
	})
	defer stop()
	err := d.naming.host.Run(inner)
	if err != nil && ctx.Err() != nil { // the end of everything, where nobody else tells
		d.log.Warn("host's resolver not restored", "err", fmt.Errorf("%w: mend that, then run \"credant down\" again", err))
		return nil
	}
	return err
}

// serves hears from the server where it could be had.
func (n *naming) serves(served []netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.served = served
	n.host.Set(n.served, n.entries)
}

// serveNames tells the server and the host what the mesh knows, where that differs
// from what they were told.
func (d *daemon) serveNames() {
	n := d.naming
	if held := d.mesh.names.Held(); !maps.Equal(n.held, held) {
		n.held = held
		d.warn("remember names", saveNames(d.config.StateDir, d.config.Network, n.held))
	}
	if listen := d.mesh.nameServers(d.config.Network); !slices.Equal(listen, n.listen) {
		n.listen = listen
		n.server.Rebind(listen)
	}
	nodes, prefixes := d.mesh.zoneNodes(), d.mesh.prefixes()
	same := slices.Equal(prefixes, n.prefixes) && slices.EqualFunc(nodes, n.nodes, func(a, b zone.Node) bool {
		return a.Name == b.Name && a.ID == b.ID && slices.Equal(a.Names, b.Names) && slices.Equal(a.Addrs, b.Addrs)
	})
	if same {
		return
	}
	n.nodes, n.prefixes = nodes, prefixes
	n.serial++
	table := zone.New(zone.Zone{Network: d.config.Network, Nodes: nodes, Reverse: prefixes, Serial: n.serial})
	n.server.SetZone(table)
	entries := make([]hostdns.Entry, 0, len(table.Hosts()))
	for _, h := range table.Hosts() {
		entries = append(entries, hostdns.Entry{Addr: h.Addr, Names: h.Names})
	}
	n.host.SetReverse(zone.ReverseZones(prefixes))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entries = entries
	n.host.Set(n.served, n.entries)
}

// nameServers are the addresses at which this node serves names, the best first.
func (m *mesh) nameServers(network string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range m.ownAddresses() {
		all = append(all, netip.AddrPortFrom(a, dns.Port))
	}
	return append(all, dns.Loopback(network))
}

// ownAddresses are this node's in the overlay, the one of its key first.
func (m *mesh) ownAddresses() []netip.Addr {
	all := []netip.Addr{keys.Address6(m.prefix6, m.self.public)}
	for _, c := range m.addressing.own {
		all = append(all, c.addr)
	}
	return all
}

// prefixes are the overlay's.
func (m *mesh) prefixes() []netip.Prefix {
	all := []netip.Prefix{m.prefix6}
	if m.addressing.prefix.IsValid() {
		all = append(all, m.addressing.prefix)
	}
	return all
}

// memberNames joins the choice of names to the mesh.
type memberNames struct {
	names        *names.Table
	namesChanged bool // who asks for which name differs from the last review
	namesPace    pace
}

// reviewNames gives the names out anew where somebody asks for another one.
func (m *mesh) reviewNames(now time.Time) {
	self := string(m.self.public.ID())
	if _, reviewed := m.names.Of(self); reviewed && !m.namesChanged || !m.namesPace.allows(now) {
		return
	}
	m.namesChanged = false
	all := []names.Node{{ID: self, Name: m.self.name, Aliases: m.self.aliases, Self: true}}
	for _, p := range m.peers {
		all = append(all, names.Node{ID: string(p.node.ID()), Name: p.record.Name, Aliases: p.record.Aliases})
	}
	changed, twice, passed := m.names.Review(all)
	for _, p := range m.peers {
		id := string(p.node.ID())
		l, _ := m.names.Of(id)
		p.label = l.Best(id)
	}
	m.notice("names", twice)
	for _, text := range passed {
		m.event("name", "", text, false)
	}
	m.out.names = m.out.names || changed
}

// zoneNodes are the nodes with their names and addresses, by id.
func (m *mesh) zoneNodes() []zone.Node {
	held := holders(m.claims())
	nodes := []zone.Node{m.zoneNode(string(m.self.public.ID()), m.ownAddresses())}
	for _, p := range m.peers {
		addrs := []netip.Addr{keys.Address6(m.prefix6, p.node)}
		for _, a := range m.heldBy(p, held) {
			if a.Is6() || len(m.addressing.own4()) > 0 {
				addrs = append(addrs, a)
			}
		}
		nodes = append(nodes, m.zoneNode(string(p.node.ID()), addrs))
	}
	slices.SortFunc(nodes, func(a, b zone.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

func (m *mesh) zoneNode(id string, addrs []netip.Addr) zone.Node {
	l, _ := m.names.Of(id)
	all := append([]string{l.Plain, l.Distinct}, l.Aliases...)
	all = slices.DeleteFunc(all, func(label string) bool { return label == "" })
	n := zone.Node{ID: id, Addrs: addrs}
	if len(all) > 0 {
		n.Name, n.Names = all[0], all[1:]
	}
	return n
}

// statusNames is how this host finds names.
func (d *daemon) statusNames() *localapi.Names {
	n := localapi.Names{Domain: zone.Domain(d.config.Network), Servers: []string{}}
	s := d.naming.host.Status()
	n.Mode, n.Why, n.Lacks, n.Error = s.Mode, s.Why, s.Lacks, s.Error
	for _, a := range d.naming.server.Addrs() {
		n.Servers = append(n.Servers, a.String())
	}
	return &n
}

// namesOf are the labels under which the node is found, the best first.
func (m *mesh) namesOf(id string) []string {
	n := m.zoneNode(id, nil)
	if n.Name == "" {
		return []string{id}
	}
	return slices.Concat([]string{n.Name}, n.Names, []string{id})
}
