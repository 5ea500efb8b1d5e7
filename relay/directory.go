package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// floors is how many numbers remember the cookies of nodes that are forgotten.
const floors = 4096

// directory is who is known.
type directory struct {
	limits   limits
	rng      *rand.Rand
	timers   *schedule
	networks map[keys.NetworkID]*network
	sessions map[[32]byte]*node
	nodes    roster[*node]
	// registered are all registrations, of all networks.
	registered roster[*registration]

	// floor holds, for nodes that were forgotten, the time of the newest cookie
	// they brought: what they sent before must not work as a first request again.
	// A node that shares a place asks for another cookie, no more.
	floor    [floors]int64
	floorKey [2]uint64
}

func newDirectory(most limits, rng *rand.Rand, key [2]uint64, timers *schedule) *directory {
	return &directory{
		limits: most, rng: rng, floorKey: key, timers: timers,
		networks: make(map[keys.NetworkID]*network),
		sessions: make(map[[32]byte]*node),
	}
}

func (d *directory) find(id keys.NetworkID, key keys.NodePublic) *node {
	if w := d.networks[id]; w != nil {
		return w.nodes[key]
	}
	return nil
}

// add makes a node and, where it is the first, its network. It is nil where no
// room can be made.
func (d *directory) add(now int64, id keys.NetworkID, of class, key keys.NodePublic) (n *node, made *network) {
	if len(d.nodes) >= d.limits.nodes && !d.evict(now) {
		return nil, nil
	}
	w := d.networks[id]
	if w == nil {
		w = &network{id: id, class: of, nodes: make(map[keys.NodePublic]*node)}
		w.bytes = new(Bucket)
		d.networks[id] = w
		made = w
	}
	n = &node{network: w, key: key}
	w.nodes[key] = n
	d.nodes.add(n)
	return n, made
}

// establish gives a node another session. A client may come with keys that were
// known and forgotten: its pushes then count on from where they can have been,
// a hundred a second.
func (d *directory) establish(now int64, n *node, keys *wire.Session) {
	if n.session != nil {
		delete(d.sessions, n.keys.ClientKey())
	}
	n.session = &session{
		keys:   keys,
		newest: d.newest(n.network.id, n.key),
		pushes: uint32(now / int64(10*time.Millisecond)),
	}
	d.sessions[keys.ClientKey()] = n
}

// newest is the time of the newest cookie that a node may have brought.
func (d *directory) newest(id keys.NetworkID, key keys.NodePublic) int64 {
	newest := d.floor[d.floorOf(id, key)]
	if n := d.find(id, key); n != nil && n.session != nil {
		newest = max(newest, n.newest)
	}
	return newest
}

func (d *directory) floorOf(id keys.NetworkID, key keys.NodePublic) uint64 {
	x := binary.BigEndian.Uint64(id[:]) ^ binary.BigEndian.Uint64(key[8:])
	return keyedHash(d.floorKey, x) % floors
}

// forget drops a node that is idle, and the network after its last one.
func (d *directory) forget(n *node) {
	if n.session != nil {
		f := &d.floor[d.floorOf(n.network.id, n.key)]
		*f = max(*f, n.newest)
		delete(d.sessions, n.keys.ClientKey())
	}
	d.timers.remove(n)
	d.nodes.remove(n)
	delete(n.network.nodes, n.key)
	if len(n.network.nodes) == 0 {
		delete(d.networks, n.network.id)
	}
}

// evict forgets a node that is idle, one that was silent for long; not who asks
// right now.
func (d *directory) evict(now int64) bool {
	n, ok := d.nodes.draw(d.rng,
		func(n *node) bool { return n.idle() && n.heard() < now },
		func(a, b *node) bool { return a.heard() > b.heard() })
	if ok {
		d.forget(n)
	}
	return ok
}
