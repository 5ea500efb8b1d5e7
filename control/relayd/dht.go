package relayd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/discovery/mainline"
)

// dhtNode is this host as a node of the DHT. It begins anew where its addresses
// have changed: a node's id follows from them.
type dhtNode struct {
	make     func(addrs []netip.Addr) *mainline.Source
	source   atomic.Pointer[mainline.Source]
	stateDir string
	log      *slog.Logger

	addrs []netip.Addr      // of the newest source; of the loop
	moves chan []netip.Addr // holds one
}

func newDHTNode(c Config, f *fronts, a *announced, locals []netip.Addr, located func(netip.AddrPort)) *dhtNode {
	n := &dhtNode{
		make:     func(addrs []netip.Addr) *mainline.Source { return newDHT(c, f, a, addrs, located) },
		stateDir: c.StateDir, log: c.Log,
		addrs: dhtAddrs(nil, locals), moves: make(chan []netip.Addr, 1),
	}
	n.source.Store(n.make(n.addrs))
	return n
}

// kick has what has changed announced at once.
func (n *dhtNode) kick() { n.source.Load().Kick() }

// move says which addresses are served now. It never blocks; one goroutine calls it.
func (n *dhtNode) move(locals []netip.Addr) {
	addrs := dhtAddrs(n.addrs, locals)
	if slices.Equal(addrs, n.addrs) {
		return
	}
	n.addrs = addrs
	select {
	case <-n.moves: // one that nobody has begun
	default:
	}
	n.moves <- addrs
}

// errMoved ends a source that is at the wrong addresses.
var errMoved = errors.New("moved")

// run is a node of the DHT until ctx ends.
func (n *dhtNode) run(ctx context.Context) error {
	for {
		var next []netip.Addr
		group, work := errgroup.WithContext(ctx)
		group.Go(func() error { return n.source.Load().Run(work) })
		group.Go(func() error { n.saveNodes(work); return nil })
		group.Go(func() error {
			select {
			case next = <-n.moves:
				return errMoved
			case <-work.Done():
				return nil
			}
		})
		if err := group.Wait(); !errors.Is(err, errMoved) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		n.source.Store(n.make(next))
	}
}

// saveNodesEvery is how often the DHT nodes are written down besides at the end.
const saveNodesEvery = 10 * time.Minute

func (n *dhtNode) saveNodes(ctx context.Context) {
	every := time.NewTicker(saveNodesEvery)
	defer every.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-every.C:
		}
		writeNodes(n.stateDir, n.source.Load().Nodes(), n.log)
	}
}
