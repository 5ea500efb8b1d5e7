package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// What root changes of a running node's membership: its names, whom it knows,
// and whether it is in the network at all.

var errEnding = errors.New("the daemon is ending")

// Rename gives this node another name.
func (d *daemon) Rename(ctx context.Context, name string) (localapi.OwnNames, error) {
	return d.changeNames(ctx, name, func() (ownNames, error) {
		if err := ValidNodeName(name); err != nil {
			return d.own, fmt.Errorf("node name %q: 1 to 63 of a-z, 0-9 and - are needed, with no - at the ends", name)
		}
		if d.config.NameOrigin != "" {
			return d.own, fmt.Errorf("this node's name is set by %s: change it there, then start the node again", d.config.NameOrigin)
		}
		return d.own.renamed(name), nil
	})
}

// AddAlias adds an extra name of this node.
func (d *daemon) AddAlias(ctx context.Context, alias string) (localapi.OwnNames, error) {
	return d.changeNames(ctx, alias, func() (ownNames, error) { return d.own.withAlias(d.mesh.self.name, alias) })
}

// RemoveAlias takes an extra name of this node away.
func (d *daemon) RemoveAlias(ctx context.Context, alias string) (localapi.OwnNames, error) {
	return d.changeNames(ctx, "", func() (ownNames, error) { return d.own.withoutAlias(alias) })
}

// changeNames keeps the names that change returns, and tells the others. What
// is asked for may be another node's already: that is said.
func (d *daemon) changeNames(ctx context.Context, asked string, change func() (ownNames, error)) (n localapi.OwnNames, err error) {
	err = errEnding
	d.inLoop(ctx, func() {
		var own ownNames
		if own, err = change(); err != nil {
			return
		}
		if err = own.save(d.config.StateDir, d.config.Network); err != nil {
			return
		}
		d.own = own
		name := d.mesh.self.name
		if d.config.NameOrigin == "" && own.Name != "" {
			name = own.Name
		}
		d.mesh.rename(name, own.Aliases)
		n = localapi.OwnNames{Name: name, Aliases: append([]string{}, own.Aliases...), Note: d.mesh.askedBy(asked)}
	})
	return n, err
}

// rename takes what this node asks to be called.
func (m *mesh) rename(name string, aliases []string) {
	m.self.name = name
	m.self.aliases = slices.DeleteFunc(slices.Clone(aliases), func(a string) bool { return a == name })
	m.namesChanged, m.publisher.dirty = true, true
}

// askedBy says which other nodes ask for a name, as a warning; empty: none.
func (m *mesh) askedBy(name string) string {
	for _, p := range m.peers {
		if name != "" && (p.record.Name == name || slices.Contains(p.record.Aliases, name)) {
			return fmt.Sprintf("another node (id %s) asks for the name %s too: on each host it means the one that was known there first, see \"credant status\"", p.node.ID(), name)
		}
	}
	return ""
}

const (
	// A node that was just taken down is found out to be gone in two or three
	// seconds, when it is asked; on a slow or lossy path a few more.
	askedToForget = 15 * time.Second
	goneYet       = 50 * time.Millisecond // between two looks whether it is
)

// Forget takes a node that is gone out of what this node knows. Where it seems to be
// here it is asked, so that one which was taken down a moment ago is forgotten now.
func (d *daemon) Forget(ctx context.Context, node string) (f localapi.Forgotten, err error) {
	node, asked, ended := d.meant(node), time.Now(), false
	for !ended {
		ended, err = true, errEnding
		d.inLoop(ctx, func() {
			var p *peer
			if p, _, err = d.mesh.find(node); err != nil {
				return
			}
			node = string(p.node.ID()) // this one is meant, whoever is called so in a moment
			if ended, err = d.mesh.isGone(time.Now(), p, asked); !ended || err != nil {
				return
			}
			own := d.own.forgetting(p.node, p.record.Seq)
			if err = own.save(d.config.StateDir, d.config.Network); err != nil {
				return
			}
			d.own = own
			f = localapi.Forgotten{Name: p.name(), ID: string(p.node.ID())}
			d.mesh.forgetUntilNewer(time.Now(), p)
		})
		if !ended {
			select {
			case <-ctx.Done():
				return f, ctx.Err()
			case <-time.After(goneYet):
			}
		}
	}
	return f, err
}

// isGone finds out whether a peer can be forgotten, since the time when that was first
// asked. The error says why it cannot be.
func (m *mesh) isGone(now time.Time, p *peer, asked time.Time) (decided bool, err error) {
	switch {
	case !p.working():
		return true, nil
	case m.agent.Answered(p.node).After(asked):
		return true, fmt.Errorf("%s is here (%s): only a node that is gone can be forgotten; \"credant block\" keeps one out", p.name(), m.statusPath(p))
	case now.Sub(asked) >= askedToForget:
		return true, fmt.Errorf("it is not clear yet whether %s is gone: try again in a minute, or keep it out with \"credant block\"", p.name())
	}
	m.agent.CheckConsent(now, p.node)
	return false, nil
}

// forgetUntilNewer forgets a peer. Its record stays in the book, so that this
// node and its neighbours have the same; it makes nobody a peer again, which a
// newer one does, or the node itself.
func (m *mesh) forgetUntilNewer(now time.Time, p *peer) {
	if len(m.forgotten) >= maxForgotten {
		for node := range m.forgotten { // any: they do no harm when they come back
			delete(m.forgotten, node)
			break
		}
	}
	m.forgotten[p.node] = p.record.Seq
	m.out.pins = m.routes.choice.unpin(string(p.node.ID())) || m.out.pins
	m.book.Pin(p.node, false)
	m.forget(now, p)
	m.out.remember = true
}

// isAway tells whether a record makes nobody a peer: its node has left, or is
// forgotten. What the node says itself, now, counts for more than a command.
func (m *mesh) isAway(r wire.Record, firsthand bool) bool {
	if r.Departed {
		return true
	}
	seq, forgotten := m.forgotten[r.Node]
	if forgotten && (firsthand || r.Seq > seq) {
		delete(m.forgotten, r.Node)
		forgotten = false
	}
	return forgotten
}

// gone takes the peer of a record that makes nobody a peer out of everything.
func (m *mesh) gone(now time.Time, r wire.Record) {
	p := m.peers[r.Node]
	if p == nil {
		return
	}
	if r.Departed {
		m.event("left", p.name(), p.name()+" has left the network", false)
	}
	m.greeter.Lost(p.node)    // whoever comes to its address is somebody else
	m.book.Pin(p.node, false) // where the book is full, those who are here matter more
	m.forget(now, p)
	m.out.remember = true
}

// passOn lets the gossip spread a record that makes nobody a peer: who has an
// older one of that node has to hear of it.
func (m *mesh) passOn(now time.Time, r wire.Record, from keys.NodePublic) {
	known, ok := m.book.Get(r.Node)
	if !ok || m.peers[r.Node] != nil || known.Record.Seq != r.Seq {
		return
	}
	if _, forgotten := m.forgotten[r.Node]; forgotten || r.Departed {
		m.gossip.Learned(now, r.Node, from)
	}
}
