package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/dns/zone"
)

// The daemon as the local API's server sees it.

// inLoop runs f in the loop and waits for it. It reports false when the loop
// has ended.
func (d *daemon) inLoop(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case d.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}

// Status is everything that status shows, at this moment.
func (d *daemon) Status() localapi.Status {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var s localapi.Status
	d.inLoop(ctx, func() {
		d.look(time.Now())
		s = d.status(time.Now())
	})
	return s
}

// Down begins to take the network away.
func (d *daemon) Down() {
	if d.config.Ephemeral {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.sayGoodbye(ctx)
	}
	d.stop(errDown)
}

// Events returns the latest events and those that come.
func (d *daemon) Events(ctx context.Context) ([]localapi.Event, <-chan localapi.Event) {
	return d.events.watch(ctx)
}

// meant is the word for a node as names are compared: whole names end with the
// network's domain, and case does not count.
func (d *daemon) meant(node string) string {
	node = strings.ToLower(node)
	if label, ok := strings.CutSuffix(strings.TrimSuffix(node, "."), "."+zone.Domain(d.config.Network)); ok {
		return label
	}
	return node
}

// Ping sends an echo request through the tunnel.
func (d *daemon) Ping(ctx context.Context, node string) (localapi.PingReply, error) {
	var reply localapi.PingReply
	var target, source netip.Addr
	var key keys.NodePublic
	err := errors.New("the daemon is ending")
	d.inLoop(ctx, func() {
		var p *peer
		if p, target, err = d.mesh.find(d.meant(node)); err != nil {
			return
		}
		key, source = p.node, d.mesh.sourceFor(target)
		reply = localapi.PingReply{
			Node: p.name(), ID: string(p.node.ID()), Address: target.String(),
			Path: d.mesh.statusPath(p), Endpoint: endpointWord(p),
			Error: p.reason,
		}
	})
	if err != nil {
		return reply, err
	}
	rtt, err := d.echoThrough(ctx, key, source, target)
	if err != nil {
		if reply.Error == "" {
			reply.Error = err.Error()
		}
		return reply, nil
	}
	reply.OK, reply.Error = true, ""
	reply.RTTMillis = milliseconds(rtt)
	d.inLoop(ctx, func() { // the first packet may have moved the path
		if p, _, err := d.mesh.find(reply.ID); err == nil {
			d.look(time.Now())
			reply.Path, reply.Endpoint = d.mesh.statusPath(p), endpointWord(p)
		}
	})
	return reply, nil
}

// echoThrough sends an echo request to a peer, and another one when a session
// with it begins meanwhile: the first was lost then.
func (d *daemon) echoThrough(ctx context.Context, node keys.NodePublic, from, to netip.Addr) (time.Duration, error) {
	old := d.session(ctx, node)
	early, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		every := time.NewTicker(lookSoon)
		defer every.Stop()
		for {
			select {
			case <-early.Done():
				return
			case <-every.C:
			}
			if s := d.session(early, node); !s.IsZero() && !s.Equal(old) {
				return
			}
		}
	}()
	rtt, err := echo(early, from, to)
	if err != nil && early.Err() != nil && ctx.Err() == nil {
		return echo(ctx, from, to)
	}
	return rtt, err
}

// session returns when the session began that carries packets to the peer; zero
// where there is none.
func (d *daemon) session(ctx context.Context, node keys.NodePublic) (began time.Time) {
	d.inLoop(ctx, func() {
		d.look(time.Now())
		if p := d.mesh.peers[node]; p != nil && p.working() {
			began = p.handshake
		}
	})
	return began
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// find looks a peer up by a name as DNS would, by the beginning of an id, or by an
// overlay address, and returns the address to use.
func (m *mesh) find(node string) (*peer, netip.Addr, error) {
	if node == "" {
		return nil, netip.Addr{}, errors.New("which node? Give a name, the beginning of an id, or an address")
	}
	asked, addrErr := netip.ParseAddr(node)
	id, known := node, isID(node) // a whole id is its node's, whoever is called so
	if !known && addrErr != nil {
		id, known = m.names.Find(node)
	}
	if known {
		for _, p := range m.peers {
			if string(p.node.ID()) == id {
				return p, m.addressesOf(p)[0], nil
			}
		}
	}
	var found []*peer
	for _, p := range m.peers {
		switch {
		case addrErr == nil:
			for _, a := range m.addressesOf(p) {
				if a == asked {
					return p, a, nil
				}
			}
		case p.record.Name == node, strings.HasPrefix(string(p.node.ID()), node):
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], m.addressesOf(found[0])[0], nil
	case 0:
		return nil, netip.Addr{}, fmt.Errorf("no node %q in this network%s", node, m.knownNames())
	}
	var ids []string
	for _, p := range found {
		ids = append(ids, string(p.node.ID()))
	}
	sort.Strings(ids)
	return nil, netip.Addr{}, fmt.Errorf("several nodes are called %q: say which by its id: %s", node, strings.Join(ids, ", "))
}

// knownNames ends an error about a name with the ones that would do.
func (m *mesh) knownNames() string {
	const most = 8
	var names []string
	for _, p := range m.peers {
		names = append(names, p.name())
	}
	if len(names) == 0 {
		return ": none is known yet; see \"credant status\""
	}
	sort.Strings(names)
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return ": known are " + strings.Join(names, ", ") + more
}
