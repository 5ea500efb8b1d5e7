package control

import (
	"cmp"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// status is built in the loop, from what the mesh and the sources say now.
func (d *daemon) status(now time.Time) localapi.Status {
	m := d.mesh
	words := m.network.CheckWords()
	s := localapi.Status{
		Version:    d.config.Version,
		Backend:    string(d.device.Backend()),
		Network:    d.config.Network,
		NetworkID:  m.network.ID().String(),
		CheckWords: words[:],
		Interface:  d.device.Name(),
		Port:       m.self.port,
		MTU:        wgsetup.DefaultMTU,
		Prefixes:   []string{m.prefix6.String()},
		Started:    d.started,
		PID:        os.Getpid(),
		Self:       m.statusSelf(now),
		Peers:      m.statusPeers(),
		Sources:    d.statusSources(),
		Relays:     m.statusRelays(),
		Drops:      d.statusDrops(),
		Notices:    append([]string{}, d.notices...),
	}
	s.Self.PortMapping = d.statusMapping()
	s.Names = d.statusNames()
	s.Blocked = d.statusBlocked()
	s.Notices = append(s.Notices, d.device.Advice()...)
	if !d.device.HasIPv6() {
		s.Self.Addresses = s.Self.Addresses[:len(m.addressing.own4())]
		if len(s.Self.Addresses) == 0 {
			s.Notices = append(s.Notices, "this node has no address: IPv6 is switched off on this host, and IPv4 is not to be had; switch IPv6 on, or choose another --subnet on every node")
		}
	}
	if m.addressing.prefix.IsValid() {
		s.Prefixes = append(s.Prefixes, m.addressing.prefix.String())
	}
	m.notice("clock", m.clock.notice(now))
	for _, subject := range slices.Sorted(maps.Keys(m.notices)) {
		s.Notices = append(s.Notices, m.notices[subject])
	}
	return s
}

func (m *mesh) statusSelf(now time.Time) localapi.Self {
	self := localapi.Self{
		Name:       m.self.name,
		Aliases:    m.self.aliases,
		Ephemeral:  m.publisher.ephemeral,
		ID:         string(m.self.public.ID()),
		PublicKey:  m.self.wireGuard.String(),
		Addresses:  []string{},
		Names:      m.namesOf(string(m.self.public.ID())),
		Candidates: []localapi.Candidate{},
		NAT:        m.nat(now),
		Routes:     []string{},
		ExitNode:   m.statusExit(),
	}
	for _, c := range m.addressing.own {
		self.Addresses = append(self.Addresses, c.addr.String())
	}
	self.Addresses = append(self.Addresses, keys.Address6(m.prefix6, m.self.public).String())
	for _, p := range m.ownRoutes() {
		self.Routes = append(self.Routes, p.String())
	}
	for _, c := range m.candidates(now) {
		self.Candidates = append(self.Candidates, localapi.Candidate{Type: c.Type.String(), Address: c.Addr.String()})
	}
	return self
}

// addressesOf are the overlay addresses at which this node reaches the peer,
// IPv4 first where it has an IPv4 address itself.
func (m *mesh) addressesOf(p *peer) []netip.Addr {
	all := append(m.heldBy(p, holders(m.claims())), keys.Address6(m.prefix6, p.node))
	if len(m.addressing.own4()) == 0 {
		all = slices.DeleteFunc(all, netip.Addr.Is4)
	}
	return all
}

// sourceFor is this node's address that goes with a peer's.
func (m *mesh) sourceFor(to netip.Addr) netip.Addr {
	if to.Is4() && len(m.addressing.own4()) > 0 {
		return m.addressing.own[0].addr
	}
	return keys.Address6(m.prefix6, m.self.public)
}

func (m *mesh) statusPeers() []localapi.Peer {
	peers := []localapi.Peer{}
	held := holders(m.claims())
	for _, p := range m.peers {
		peer := localapi.Peer{
			Name:      p.ownName(),
			Aliases:   p.record.Aliases,
			ID:        string(p.node.ID()),
			Names:     m.namesOf(string(p.node.ID())),
			PublicKey: p.record.WireGuard.String(),
			Path:      m.statusPath(p),
			Endpoint:  endpointWord(p),
			RxBytes:   p.state.RxBytes,
			TxBytes:   p.state.TxBytes,
			MTU:       p.mtu(),
			Routes:    m.statusRoutes(p),
		}
		m.sayWhy(p, &peer)
		if s := p.relayOf(); s != nil && p.working() {
			peer.Relay = s.name()
		}
		for _, a := range append(m.heldBy(p, held), keys.Address6(m.prefix6, p.node)) {
			peer.Addresses = append(peer.Addresses, a.String())
		}
		if !p.state.LastHandshake.IsZero() {
			at := p.state.LastHandshake
			peer.LastHandshake = &at
		}
		if p.path.RTT > 0 {
			rtt := milliseconds(p.path.RTT)
			peer.RTTMillis = &rtt
		}
		peers = append(peers, peer)
	}
	slices.SortFunc(peers, func(a, b localapi.Peer) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return peers
}

// statusPath is the word for how a peer is reached.
func (m *mesh) statusPath(p *peer) string {
	switch {
	case p.working():
		return m.pathWord(p)
	case p.reason != "" && p.session == nil:
		return "offline"
	default:
		return "connecting"
	}
}

// What package natpunch does not know of: codes beside its own, and their words.
const (
	reasonSilent  = "silent"
	reasonNotMet  = "not-met"
	reasonSession = "no-session"
	reasonMoving  = "moving"

	whySilent = "no answer for more than 3 minutes"
	whyNotMet = "not met since this daemon started"
)

// sayWhy says why the path is not direct, and what would mend it.
func (m *mesh) sayWhy(p *peer, out *localapi.Peer) {
	if p.working() && !p.viaRelay() {
		return
	}
	r := m.agent.Reason(p.node)
	switch {
	case p.working() && r.Code == "":
		r = natpunch.Reason{Code: reasonMoving, Text: "a direct path was found, and traffic is about to move to it"}
	case p.working():
	case p.reason == whySilent:
		r = natpunch.Reason{Code: reasonSilent, Text: whySilent, Mend: "it comes back by itself once that machine is on, online and running CredAnt"}
	case p.reason == whyNotMet:
		r = natpunch.Reason{Code: reasonNotMet, Text: whyNotMet, Mend: "it comes back by itself once that machine is on, online and running CredAnt"}
	case p.reason != "":
		r.Text = p.reason // it names what was tried
		r.Code = cmp.Or(r.Code, natpunch.ReasonNoAnswer)
	case r.Code == "" && p.path.Addr.IsValid():
		r = natpunch.Reason{Code: reasonSession, Text: "a path is there, and WireGuard has yet to shake hands over it"}
	case r.Code == "":
		r = natpunch.Reason{Code: natpunch.ReasonSearching, Text: "looking for a path"}
	}
	out.Reason, out.ReasonCode, out.Mend = r.Text, r.Code, r.Mend
}

func (m *mesh) statusRelays() []localapi.Relay {
	all := []localapi.Relay{}
	for _, s := range m.relays.all {
		r := localapi.Relay{
			Address: s.name(), Class: s.class.String(), State: s.state(), Home: s.home,
			Members: len(s.seen), Pairs: len(s.pairs), LastError: s.error,
		}
		if !s.key.IsZero() {
			r.Key = s.key.String()
		}
		if s.client != nil {
			now := s.client.Status()
			r.LastError = cmp.Or(now.LastError, s.error)
			if s.up {
				rtt := milliseconds(now.RTT)
				r.RTTMillis = &rtt
			}
		}
		all = append(all, r)
	}
	return all
}

func (s *relayServer) state() string {
	switch {
	case s.client == nil:
		return "unused"
	case s.leaving:
		return "leaving"
	case s.up:
		return "up"
	case s.error != "":
		return "down"
	default:
		return "asking"
	}
}

func endpointWord(p *peer) string {
	switch {
	case p.state.Endpoint.IsValid():
		return p.state.Endpoint.String()
	case p.path.Addr.IsValid():
		return p.path.Addr.String()
	default:
		return ""
	}
}

func (d *daemon) statusSources() map[string]localapi.Source {
	off := localapi.Source{State: string(discovery.StateOff)}
	all := map[string]localapi.Source{"dht": off, "lan": off, "static": off, "cache": d.cache.status()}
	if d.sources.dht != nil {
		all["dht"] = sourceStatus(d.sources.dht.Status())
	}
	if d.sources.lan != nil {
		all["lan"] = sourceStatus(d.sources.lan.Status())
	}
	if d.sources.static != nil {
		all["static"] = sourceStatus(d.sources.static.Status())
	}
	return all
}

func sourceStatus(s discovery.SourceStatus) localapi.Source {
	return localapi.Source{
		State: string(s.State), Detail: s.Detail, Found: s.Found,
		Nodes: s.Nodes, LastError: s.LastError,
	}
}

// statusDrops adds up what all rooms dropped.
func (d *daemon) statusDrops() map[string]uint64 {
	all := d.drops.snapshot()
	add := func(room string, counts map[string]uint64) {
		for reason, n := range counts {
			if n > 0 {
				all[room+strings.ReplaceAll(strings.TrimPrefix(reason, room), " ", "-")] += n
			}
		}
	}
	add("", d.device.Drops())
	add("hint-", d.mesh.greeter.Stats().Ignored)
	if d.sources.dht != nil {
		add("dht-", d.sources.dht.Drops())
	}
	if d.sources.lan != nil {
		add("lan-", d.sources.lan.Drops())
	}
	return all
}
