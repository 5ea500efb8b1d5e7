package control

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// punching takes over what the agent wants of ports besides the node's own.
func (m *mesh) punching(a natpunch.Action) {
	switch a := a.(type) {
	case natpunch.OpenPorts, natpunch.SendFrom, natpunch.Keep, natpunch.ClosePorts, natpunch.Release:
		m.out.punch = append(m.out.punch, a)
	case natpunch.Tell:
		if p := m.peers[a.Node]; p != nil {
			m.sendThrough(p, wire.Signal{Tell: a.Data})
		}
	}
}

// extraPort is one of the short-lived ports of a peer.
type extraPort struct {
	node  keys.NodePublic
	index int
}

// extraPorts is what control needs of wgsetup.Ports.
type extraPorts interface {
	Len() int
	Port(i int) uint16
	Send(i int, b []byte, to netip.AddrPort) error
	Run(ctx context.Context, receive func(i int, from netip.AddrPort, b []byte)) error
	Keep(i int) error
	Close() error
}

// puncher opens the short-lived ports that the agent asks for, sends from them, and
// keeps the one that won. It belongs to the loop; each set of ports is read by a
// goroutine of its own.
type puncher struct {
	open     func(n int) (extraPorts, error)
	setKept  func([]wgsetup.Kept) error
	received func(extraPort, netip.AddrPort, []byte)
	warn     func(what string, err error)

	ports   map[keys.NodePublic]extraPorts
	kept    []wgsetup.Kept
	reading sync.WaitGroup
}

// do carries out one action and tells the agent what came of it.
func (p *puncher) do(ctx context.Context, a natpunch.Action, agent *natpunch.Agent) {
	switch a := a.(type) {
	case natpunch.OpenPorts:
		agent.PortsOpened(time.Now(), a.Node, p.openPorts(ctx, a))
	case natpunch.SendFrom:
		if ports := p.ports[a.Node]; ports != nil && a.Port < ports.Len() {
			_ = ports.Send(a.Port, a.Data, a.To) // the agent counts on loss
		}
	case natpunch.Keep:
		err := p.keep(a)
		p.warn("keep a port", err)
		agent.Kept(time.Now(), a.Node, a.Remote, err == nil)
	case natpunch.ClosePorts:
		p.close(a.Node)
	case natpunch.Release:
		p.warn("give a kept port back", p.set(slices.DeleteFunc(slices.Clone(p.kept), func(k wgsetup.Kept) bool { return k.Remote == a.Remote })))
	}
}

func (p *puncher) openPorts(ctx context.Context, a natpunch.OpenPorts) int {
	p.close(a.Node)
	ports, err := p.open(a.N)
	if err != nil {
		p.warn("open extra ports", err)
		return 0
	}
	if p.ports == nil {
		p.ports = make(map[keys.NodePublic]extraPorts)
	}
	p.ports[a.Node] = ports
	p.reading.Go(func() {
		_ = ports.Run(ctx, func(i int, from netip.AddrPort, b []byte) {
			p.received(extraPort{a.Node, i}, from, b)
		})
	})
	return ports.Len()
}

func (p *puncher) keep(a natpunch.Keep) error {
	ports := p.ports[a.Node]
	if ports == nil || a.Port >= ports.Len() {
		return wgsetup.ErrClosed
	}
	if err := ports.Keep(a.Port); err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(p.kept), func(k wgsetup.Kept) bool { return k.Remote == a.Remote })
	return p.set(append(kept, wgsetup.Kept{Remote: a.Remote, Port: ports.Port(a.Port)}))
}

func (p *puncher) set(kept []wgsetup.Kept) error {
	if err := p.setKept(kept); err != nil {
		return err
	}
	p.kept = kept
	return nil
}

func (p *puncher) close(node keys.NodePublic) {
	if ports := p.ports[node]; ports != nil {
		delete(p.ports, node)
		p.warn("close extra ports", ports.Close())
	}
}

// end closes all ports. What is kept belongs to the device.
func (p *puncher) end() {
	for node := range p.ports {
		p.close(node)
	}
	p.reading.Wait()
}

// adopt takes the ports that an earlier process kept: the agent hears of those that
// lead to a peer, the others are given back.
func (p *puncher) adopt(now time.Time, m *mesh, found []wgsetup.Kept) {
	if len(found) == 0 {
		return
	}
	var mine []wgsetup.Kept
	for _, k := range found {
		for _, peer := range m.peers {
			if peer.installed && peer.path.Addr == k.Remote {
				mine = append(mine, k)
				m.agent.Kept(now, peer.node, k.Remote, true)
			}
		}
	}
	p.kept = found
	p.warn("take over kept ports", p.set(mine))
}
