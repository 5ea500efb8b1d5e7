package client

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// model is a small relay: as slow and plain as it can be.
type model struct {
	w        *world
	identity wire.ServerPrivate
	exchange *wire.Exchange
	cookies  map[wire.Cookie]issued
	sessions map[[32]byte]*served
	blobs    map[keys.NodePublic]registered
	allocs   []*alloc
	first    uint16
	last     uint16
	dead     bool
	deaf     map[string]bool // operations that are not answered
	refuse   map[string]*wire.Error
	tamper   func(*wire.Response)
	requests map[string]int
}

type issued struct {
	from netip.AddrPort
	port uint16
	at   time.Time
}

type served struct {
	*wire.Session
	node   keys.NodePublic
	window wire.Window
	newest map[uint16]time.Time // of the cookies used, by port
	from   netip.AddrPort       // and at, where pushes go
	at     netip.AddrPort
	pushes uint32
	used   time.Time
}

type registered struct {
	blob []byte
	at   time.Time
}

type alloc struct {
	nodes [2]keys.NodePublic
	port  uint16
	from  [2]netip.AddrPort
	bound [2]bool
	used  time.Time
}

func newModel(w *world) *model {
	seed := [32]byte{99}
	identity, err := wire.ParseServerPrivate(seed[:])
	if err != nil {
		w.t.Fatal(err)
	}
	m := &model{w: w, identity: identity, first: 20000, last: 21023}
	m.restart()
	return m
}

// restart forgets all but the identity.
func (m *model) restart() {
	m.exchange = wire.NewExchange(m.identity)
	m.cookies, m.sessions = map[wire.Cookie]issued{}, map[[32]byte]*served{}
	m.blobs, m.allocs = map[keys.NodePublic]registered{}, nil
	m.deaf, m.refuse, m.requests = map[string]bool{}, map[string]*wire.Error{}, map[string]int{}
	m.dead = false
}

func (m *model) send(at, to netip.AddrPort, b []byte) {
	if !m.w.dead[at.Addr()] {
		m.w.carry(func() { m.w.arrive(at, to, b) })
	}
}

func (m *model) cookie(from netip.AddrPort, port uint16) (c wire.Cookie) {
	_, _ = chaos{m.w.rng}.Read(c[:])
	m.cookies[c] = issued{from, port, m.w.now}
	return c
}

func (m *model) expire() {
	for node := range m.blobs {
		if s := m.of(node); s == nil || m.w.now.Sub(s.used) > 120*time.Second {
			m.unregister(node)
		}
	}
	m.allocs = slices.DeleteFunc(m.allocs, func(a *alloc) bool {
		idle := m.w.now.Sub(a.used)
		return idle > 300*time.Second || !(a.bound[0] && a.bound[1]) && idle > 30*time.Second
	})
}

func (m *model) open(port uint16) bool {
	return slices.ContainsFunc(m.allocs, func(a *alloc) bool { return a.port == port })
}

// data is a WireGuard packet that came to an allocated port.
func (m *model) data(at, from netip.AddrPort, b []byte) {
	for _, a := range m.allocs {
		for i := range a.nodes {
			if a.port == at.Port() && a.bound[i] && a.from[i] == from {
				a.used = m.w.now
				return
			}
		}
	}
	m.send(at, from, wire.AppendReset(nil, b))
}

func (m *model) receive(at, from netip.AddrPort, b []byte) {
	if m.dead {
		return
	}
	m.expire()
	main := at.Port() == 3478
	if !main && !m.open(at.Port()) {
		return
	}
	kind, ok := wire.ParseHeader(b)
	switch {
	case !ok && !main:
		m.data(at, from, b)
	case kind == wire.KindAsk:
		tx, err := wire.ParseAsk(b)
		if err != nil {
			m.w.t.Error(err)
			return
		}
		m.send(at, from, m.exchange.AppendChallenge(nil, tx, m.cookie(from, at.Port()), from))
	case kind == wire.KindRequest:
		m.request(at, from, b)
	}
}

func (m *model) request(at, from netip.AddrPort, b []byte) {
	cookie, key, err := wire.RequestHeader(b)
	if err != nil {
		m.w.t.Error(err)
		return
	}
	is, good := m.cookies[cookie]
	good = good && is.from == from && is.port == at.Port() && m.w.now.Sub(is.at) <= 120*time.Second
	s := m.sessions[key]
	if s == nil {
		if !good {
			m.send(at, from, wire.AppendReset(nil, b))
			return
		}
		half, err := m.exchange.Session(key)
		if err != nil {
			m.w.t.Error(err)
			return
		}
		s = &served{Session: half, newest: map[uint16]time.Time{}}
	}
	r, err := s.OpenRequest(b)
	if err != nil {
		m.send(at, from, wire.AppendReset(nil, b))
		return
	}
	m.requests[r.Operation()]++
	if !good || is.at.Before(s.newest[at.Port()]) {
		m.answer(s, at, from, wire.Response{Number: r.Number, Error: &wire.Error{Code: wire.CodeCookie}})
		return
	}
	if m.sessions[key] == nil {
		if r.Refresh != nil {
			m.send(at, from, wire.AppendReset(nil, b))
			return
		}
		s.node = r.Node
		m.sessions[key] = s
	}
	if err := r.Verify(at.Port()); err != nil {
		m.w.t.Error(err)
		return
	}
	if !s.window.Take(r.Number) {
		return
	}
	s.newest[at.Port()], s.used = is.at, m.w.now
	if at.Port() == 3478 {
		s.from, s.at = from, at
	}
	if m.deaf[r.Operation()] {
		return
	}
	response := wire.Response{Number: r.Number, Cookie: m.cookie(from, at.Port())}
	if e := m.refuse[r.Operation()]; e != nil {
		response.Error = e
	} else {
		m.serve(s, at, from, r, &response)
	}
	if m.tamper != nil {
		m.tamper(&response)
	}
	m.answer(s, at, from, response)
}

func (m *model) answer(s *served, at, from netip.AddrPort, r wire.Response) {
	b, err := s.SealResponse(r)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.send(at, from, b)
}

// push tells a node twice.
func (m *model) push(node keys.NodePublic, p wire.Push) {
	s := m.of(node)
	if s == nil || !s.from.IsValid() {
		return
	}
	s.pushes++
	p.Number = s.pushes
	b, err := s.SealPush(p)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.send(s.at, s.from, b)
	m.w.at(300*time.Millisecond, func() { m.send(s.at, s.from, b) })
}

// of is the newest session of a node.
func (m *model) of(node keys.NodePublic) (newest *served) {
	for _, s := range m.sessions {
		if s.node == node && (newest == nil || s.used.After(newest.used)) {
			newest = s
		}
	}
	return newest
}

func (m *model) serve(s *served, at, from netip.AddrPort, r wire.Request, response *wire.Response) {
	switch {
	case r.Register != nil:
		old := m.blobs[s.node].blob
		m.blobs[s.node] = registered{r.Register.Blob, m.w.now}
		if !bytes.Equal(old, r.Register.Blob) {
			for node := range m.blobs {
				if node != s.node {
					m.push(node, wire.Push{Blob: &wire.Blob{Node: s.node, Data: r.Register.Blob}})
				}
			}
		}
		m.pushAll(s.node, r.Register.Have)
		response.Registered = &wire.Registered{
			Lifetime: 2 * time.Minute, Addrs: []netip.AddrPort{main4, main6}, First: m.first, Last: m.last, Others: len(m.blobs) - 1,
		}
	case r.Refresh != nil:
		n := len(m.blobs)
		if _, ok := m.blobs[s.node]; ok {
			n--
			m.pushAll(s.node, r.Refresh.Have)
		}
		response.Refreshed = &wire.Refreshed{Others: n}
	case r.Allocate != nil:
		for _, peer := range r.Allocate.Peers {
			a := m.allocate(s.node, peer)
			response.Allocated = append(response.Allocated, wire.Allocated{Peer: peer, Port: a.port})
		}
	case r.Bind != nil:
		a, i := m.alloc(s.node, r.Bind.Peer)
		if a == nil || a.port != at.Port() {
			response.Error = &wire.Error{Code: wire.CodeUnknown}
			return
		}
		changed := !a.bound[i]
		a.bound[i], a.from[i], a.used = true, from, m.w.now
		if changed {
			m.push(r.Bind.Peer, wire.Push{PeerBound: &wire.PeerBound{Peer: s.node, Port: a.port, Bound: true}})
		}
		response.Bound = &wire.Bound{Peer: r.Bind.Peer, PeerBound: a.bound[1-i]}
	case r.Release != nil:
		m.release(s.node, r.Release.Peers)
		response.Done = true
	case r.Leave:
		m.release(s.node, nil)
		m.unregister(s.node)
		response.Done = true
	}
}

func (m *model) unregister(node keys.NodePublic) {
	if _, ok := m.blobs[node]; !ok {
		return
	}
	delete(m.blobs, node)
	for other := range m.blobs {
		m.push(other, wire.Push{Gone: &wire.Gone{Node: node}})
	}
}

func (m *model) pushAll(to keys.NodePublic, have wire.Have) {
	var mine wire.Have
	for node, r := range m.blobs {
		if node != to {
			mine.Toggle(node, r.blob)
		}
	}
	if mine == have {
		return
	}
	for node, r := range m.blobs {
		if node != to {
			m.push(to, wire.Push{Blob: &wire.Blob{Node: node, Data: r.blob, Age: m.w.now.Sub(r.at)}})
		}
	}
}

func (m *model) alloc(node, peer keys.NodePublic) (*alloc, int) {
	for _, a := range m.allocs {
		if a.nodes == [2]keys.NodePublic{node, peer} {
			return a, 0
		}
		if a.nodes == [2]keys.NodePublic{peer, node} {
			return a, 1
		}
	}
	return nil, 0
}

func (m *model) allocate(node, peer keys.NodePublic) *alloc {
	if a, _ := m.alloc(node, peer); a != nil {
		return a
	}
	port := m.first
	for slices.ContainsFunc(m.allocs, func(a *alloc) bool {
		return a.port == port && (slices.Contains(a.nodes[:], node) || slices.Contains(a.nodes[:], peer))
	}) {
		port++
	}
	a := &alloc{nodes: [2]keys.NodePublic{node, peer}, port: port, used: m.w.now}
	m.allocs = append(m.allocs, a)
	return a
}

func (m *model) release(node keys.NodePublic, peers []keys.NodePublic) {
	for _, a := range m.allocs {
		for i := range a.nodes {
			peer := a.nodes[1-i]
			if a.nodes[i] == node && (peers == nil || slices.Contains(peers, peer)) {
				a.bound[i] = false
				m.push(peer, wire.Push{PeerBound: &wire.PeerBound{Peer: node, Port: a.port}})
			}
		}
	}
}

// leaving tells everybody.
func (m *model) leaving(grace time.Duration) {
	for _, s := range m.sessions {
		m.push(s.node, wire.Push{Leaving: &wire.Leaving{Grace: grace}})
	}
}
