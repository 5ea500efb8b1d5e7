package gossip

import (
	crand "crypto/rand"
	"io"
	"math/rand/v2"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Config is what a Gossip needs.
type Config struct {
	Self keys.NodePublic
	// Book holds the records of the others. Gossip only reads it.
	Book *discovery.Book
	// Limit is how many members and peers there may be; 0 means
	// discovery.DefaultMembers.
	Limit int
	// Rand chooses neighbours and moments; nil means crypto/rand.
	Rand io.Reader
}

// Output is a signal to be sealed for a node and sent over its path. Whoever
// sends an Introduce may add where it sees the node introduced; what is in a
// digest must not be changed.
type Output struct {
	To     keys.NodePublic
	Signal wire.Signal
}

// The reasons to drop a digest or a want.
const (
	dropNotWorking = "not-working" // from a node that cannot be answered
	dropRateLimit  = "rate-limit"  // more than a peer's budget
)

// Gossip keeps the records of all members the same.
type Gossip struct {
	set   *set
	limit int

	peers  map[keys.NodePublic]*peer
	order  []*peer // those that work, by node key
	turn   int     // where in order sending begins
	secret [32]byte
	rng    *rand.Rand

	asked map[wire.NodeHash]ask // what a peer was asked for
	// offered is how many offers all peers have together.
	offered int

	pushes, copies, talk, greeting bucket

	rhythm
	greets   []greet
	chooseAt time.Time // zero: the neighbours stand

	wake time.Time // when Advance has something to do; zero: never
}

// New returns a Gossip that knows what the Book holds.
func New(c Config) *Gossip {
	if c.Limit <= 0 {
		c.Limit = discovery.DefaultMembers
	}
	if c.Rand == nil {
		c.Rand = crand.Reader
	}
	g := &Gossip{
		set: newSet(c), limit: c.Limit,
		peers: make(map[keys.NodePublic]*peer),
		asked: make(map[wire.NodeHash]ask),
	}
	var seed [32]byte
	for _, b := range [][]byte{seed[:], g.secret[:]} {
		if _, err := io.ReadFull(c.Rand, b); err != nil {
			panic("gossip: read randomness: " + err.Error()) // crypto/rand ends the program by itself
		}
	}
	g.rng = rand.New(rand.NewChaCha8(seed))
	return g
}

// SetOwn takes this node's own record, signed now. One that is not newer than
// the last is passed over.
func (g *Gossip) SetOwn(now time.Time, signed wire.SignedRecord) {
	node, seq, err := signed.Claim()
	if err != nil || node != g.set.own.node || seq <= g.set.own.seq {
		return
	}
	o := &g.set.own
	o.signed, o.seq, o.at = signed, seq, now
	g.set.viewed = view{}
	g.spread(now, o.hash, nil, true)
	g.touch(now)
	g.changed(now)
}

// SetPeer says whether a node can be spoken to. A node that is not known yet is
// refused where there are too many.
func (g *Gossip) SetPeer(now time.Time, node keys.NodePublic, working bool) {
	p := g.peers[node]
	if node == g.set.own.node || p == nil && !working || p != nil && p.working == working {
		return
	}
	g.changed(now)
	if !working {
		g.lose(now, p)
		return
	}
	if p == nil {
		if p = g.add(now, node); p == nil {
			return
		}
	}
	g.follow(p, p.follows) // if there is still room
	p.working, p.since, p.fresh = true, now, true
	g.insert(p)
	g.met(now, p)
}

// Learned says that the Book has taken a record of node that from has sent:
// node itself, another member, or zero for elsewhere. It may be one that was
// known: then it tells that from has it. One that is older than the known one
// is not to be reported.
func (g *Gossip) Learned(now time.Time, node, from keys.NodePublic) {
	m, ok := g.set.book.Get(node)
	if !ok || node == g.set.own.node {
		return
	}
	g.changed(now)
	e := wire.Entry{Node: wire.HashNode(node), Seq: m.Record.Seq}
	sender := g.peers[from]
	// What others have offered, or sent because they were asked, is no news to
	// most: it comes in bulk, and neighbours are asked whether they have it.
	old := g.arrived(now, sender, e) || g.isOffered(e)
	if sender != nil {
		sender.shown(e, e.Seq)
	}
	k := g.set.put(now, node, m.Record.Seq)
	if k == nil {
		return
	}
	// Whoever has it later may have it from this node.
	k.gossiped = k.gossiped || old || !from.IsZero() && from != node
	k.via = from
	if !alive(now, m) {
		return
	}
	g.spread(now, e.Node, sender, !old && (sender == nil || sender.news.take(now, newsLimit, 1)))
	g.touch(now)
}

// Neighbors are the peers that this node has chosen to tell the news, by node
// key.
func (g *Gossip) Neighbors() []keys.NodePublic {
	var nodes []keys.NodePublic
	for _, p := range g.order {
		if p.neighbor {
			nodes = append(nodes, p.node)
		}
	}
	return nodes
}

// Advance returns what is to be sent now.
func (g *Gossip) Advance(now time.Time) []Output {
	if g.wake.IsZero() || now.Before(g.wake) {
		return nil
	}
	g.chooseDue(now)
	g.giveUp(now)
	g.beat(now)
	out := g.send(now)
	g.wake = g.nextWake(now)
	return out
}

// Next is when Advance has something to do; false if never.
func (g *Gossip) Next() (time.Time, bool) { return g.wake, !g.wake.IsZero() }

// changed makes the next Advance look at everything.
func (g *Gossip) changed(now time.Time) {
	if g.wake.IsZero() || now.Before(g.wake) {
		g.wake = now
	}
}
