package control

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// maxBlocked bounds the file of blocked nodes, which a person fills.
const maxBlocked = 1024

// blockedNode is a node that this one has nothing to do with.
type blockedNode struct {
	ID    string    `json:"id"`
	Name  string    `json:"name,omitempty"` // when it was blocked
	Since time.Time `json:"since"`
}

// blockList says who is blocked, by id: a name is for the taking. It is asked by the
// loop and by the sources.
type blockList struct {
	mu    sync.RWMutex
	nodes map[string]blockedNode // by id
}

func newBlockList(nodes []blockedNode) *blockList {
	l := &blockList{nodes: make(map[string]blockedNode, len(nodes))}
	for _, n := range nodes {
		l.nodes[n.ID] = n
	}
	return l
}

// has tells whether a node is blocked. The nil list blocks none.
func (l *blockList) has(node keys.NodePublic) bool {
	if l == nil {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.nodes) == 0 {
		return false
	}
	_, ok := l.nodes[string(node.ID())]
	return ok
}

func (l *blockList) hasID(id string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.nodes[id]
	return ok
}

// all are the blocked nodes by name.
func (l *blockList) all() []blockedNode {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]blockedNode, 0, len(l.nodes))
	for _, n := range l.nodes {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b blockedNode) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (l *blockList) set(n blockedNode, blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if blocked {
		l.nodes[n.ID] = n
	} else {
		delete(l.nodes, n.ID)
	}
}

// find looks a blocked node up by the name that it had, or the beginning of its id.
func (l *blockList) find(word string) (blockedNode, error) {
	var found []blockedNode
	for _, n := range l.all() {
		switch {
		case n.ID == word:
			return n, nil
		case n.Name == word, word != "" && strings.HasPrefix(n.ID, word):
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return blockedNode{}, fmt.Errorf("no node %q is blocked: \"credant block\" lists those that are", word)
	}
	var ids []string
	for _, n := range found {
		ids = append(ids, n.ID)
	}
	return blockedNode{}, fmt.Errorf("several blocked nodes are called %q: say which by its id: %s", word, strings.Join(ids, ", "))
}

// wantBlocked finds the node that is to be blocked. One that is not known is named by
// its whole id.
func (m *mesh) wantBlocked(wall time.Time, word string) (blockedNode, error) {
	if word == m.self.name || word == string(m.self.public.ID()) {
		return blockedNode{}, errors.New("that is this node: name another one, \"credant status\" lists them")
	}
	if n, err := m.blocked.find(word); err == nil && n.ID == word {
		return n, nil
	}
	if len(m.blocked.all()) >= maxBlocked {
		return blockedNode{}, fmt.Errorf("%d nodes are blocked, and there is no room for more: unblock some with \"credant unblock\"", maxBlocked)
	}
	p, _, err := m.find(word)
	switch {
	case err == nil:
		return blockedNode{ID: string(p.node.ID()), Name: p.record.Name, Since: wall}, nil
	case isID(word):
		return blockedNode{ID: word, Since: wall}, nil
	}
	if n, blocked := m.blocked.find(word); blocked == nil {
		return n, nil
	}
	return blockedNode{}, fmt.Errorf("%w; one that is not there now can be blocked by its id of 16 characters", err)
}

// block ends everything with a node, at once.
func (m *mesh) block(now time.Time, n blockedNode) {
	m.blocked.set(n, true)
	for _, p := range m.peers {
		if string(p.node.ID()) != n.ID {
			continue
		}
		m.event("blocked", p.name(), p.name()+" is blocked", false)
		m.book.Pin(p.node, false)
		m.forget(now, p)
		m.routes.changed = true
		m.out.remember = true // the cache is not to bring it back
	}
}

// unblock takes a node in again, as if its record had just come.
func (m *mesh) unblock(now, wall time.Time, n blockedNode) {
	m.blocked.set(n, false)
	m.routes.changed = true
	for _, known := range m.book.All() {
		if string(known.Record.Node.ID()) != n.ID {
			continue
		}
		if p := m.learn(now, wall, known.Record, known.Signed, known.AgeAt(now), keys.NodePublic{}); p != nil {
			p.heardAt = now
			p.reason = whyNotMet
			m.hintCandidates(now, p)
			m.out.kick = true
		}
	}
}

// shelve keeps a blocked node's record for nothing but the others: a neighbour that
// lacks it would be offered it again and again by those who have not blocked it.
func (m *mesh) shelve(now time.Time, r wire.Record, signed wire.SignedRecord, age time.Duration, from keys.NodePublic) {
	m.drops.count("blocked")
	if _, _, err := m.book.Put(now, signed, age); err == nil {
		m.gossip.Learned(now, r.Node, from)
	}
}
