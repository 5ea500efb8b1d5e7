package control

import (
	"context"
	"errors"
	"time"

	"github.com/credant/credant/control/localapi"
)

// Block shuts a node out, now and after restarts.
func (d *daemon) Block(ctx context.Context, node string) (localapi.BlockedNode, error) {
	return d.shut(ctx, func(now time.Time) (blockedNode, error) {
		n, err := d.mesh.wantBlocked(now, d.meant(node))
		if err != nil {
			return n, err
		}
		d.mesh.block(now, n)
		return n, nil
	})
}

// Unblock lets a node in again.
func (d *daemon) Unblock(ctx context.Context, node string) (localapi.BlockedNode, error) {
	return d.shut(ctx, func(now time.Time) (blockedNode, error) {
		n, err := d.mesh.blocked.find(d.meant(node))
		if err != nil {
			return n, err
		}
		d.mesh.unblock(now, now, n)
		return n, nil
	})
}

// shut changes who is blocked. What cannot be written down is said, and holds until
// the daemon ends.
func (d *daemon) shut(ctx context.Context, change func(now time.Time) (blockedNode, error)) (localapi.BlockedNode, error) {
	var n blockedNode
	err := errors.New("the daemon is ending")
	d.inLoop(ctx, func() {
		if n, err = change(time.Now()); err != nil {
			return
		}
		err = saveBlocked(d.config.StateDir, d.config.Network, d.mesh.blocked.all())
	})
	return localapi.BlockedNode(n), err
}

func (d *daemon) statusBlocked() []localapi.BlockedNode {
	all := []localapi.BlockedNode{}
	for _, n := range d.mesh.blocked.all() {
		all = append(all, localapi.BlockedNode(n))
	}
	return all
}

// hostRoutes tells the mesh what the host reaches without the network.
func (d *daemon) hostRoutes() {
	if !d.mesh.routes.choice.asks() {
		return
	}
	routes, err := d.device.HostRoutes()
	if err != nil {
		d.log.Warn("list the host's routes", "err", err)
		return
	}
	d.mesh.hostRoutesChanged(routes)
}

// pinRoutes writes down which nodes the settings' names mean.
func (d *daemon) pinRoutes() {
	if err := savePins(d.config.StateDir, d.config.Network, d.mesh.routes.choice.pins); err != nil {
		d.log.Warn("remember whose routes are taken", "err", err)
	}
}

// statusRoutes are those that a peer offers, and what became of them.
func (m *mesh) statusRoutes(p *peer) []localapi.Route {
	routes := []localapi.Route{}
	for i, prefix := range p.record.Routes {
		r := localapi.Route{Prefix: prefix.String(), State: string(routeOffered)}
		if words := m.routes.choice.plan.words[p.node]; i < len(words) && words[i].prefix == prefix {
			r.State, r.Reason = string(words[i].state), words[i].reason
		}
		routes = append(routes, r)
	}
	return routes
}

func (m *mesh) statusExit() *localapi.ExitNode {
	e := m.routes.choice.plan.exit
	if e.name == "" {
		return nil
	}
	s := &localapi.ExitNode{Name: e.name, State: e.state}
	if !e.node.IsZero() {
		s.ID = string(e.node.ID())
	}
	return s
}
