package control

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/mainline"
	"github.com/credant/credant/discovery/static"
	relaywire "github.com/credant/credant/relay/wire"
)

// hintRelay hands the loop an address where a relay is said to be.
func (d *daemon) hintRelay(r relayHint) func(netip.AddrPort) {
	return func(addr netip.AddrPort) {
		select {
		case d.hints <- hint{source: sourceRelay, addr: addr, relay: r}:
		default:
			d.drops.count("hints-busy")
		}
	}
}

// relaySource resolves one relay of the user's. Config has checked it.
func (d *daemon) relaySource(text string, r static.Resolver) *static.Source {
	a, _ := relaywire.ParseServerAddress(text)
	return static.New(static.Config{
		Addresses: []string{hostPort(a)},
		Found:     d.hintRelay(relayHint{ownRelay, a.Key}),
		Resolver:  r,
		Log:       d.log,
	})
}

func hostPort(a relaywire.ServerAddress) string {
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// dhtBootstrap begins with the user's relays, which are DHT nodes as a rule.
func (d *daemon) dhtBootstrap() []string {
	nodes := d.config.DHTBootstrap
	if nodes == nil {
		nodes = mainline.DefaultBootstrap
	}
	var all []string
	for _, text := range d.config.Relays {
		a, _ := relaywire.ParseServerAddress(text)
		all = append(all, hostPort(a))
	}
	return append(all, nodes...)
}

// relayLookups searches the DHT for relays while the mesh wants some.
func (d *daemon) relayLookups(network keys.NetworkID) []mainline.Lookup {
	one := func(hash [20]byte) func(time.Time) [][20]byte {
		return func(time.Time) [][20]byte { return [][20]byte{hash} }
	}
	all := []mainline.Lookup{{
		InfoHashes: one(network.RelayInfoHash()),
		Active:     d.seek.network.Load,
		Found:      d.hintRelay(relayHint{class: networkRelay}),
	}}
	if !d.config.NoPublicRelay {
		all = append(all, mainline.Lookup{
			InfoHashes: one(keys.PublicRelayInfoHash()),
			Active:     d.seek.strangers.Load,
			Found:      d.hintRelay(relayHint{class: strangerRelay}),
		})
	}
	return all
}

// seekRelays tells the DHT what to search for besides members.
func (d *daemon) seekRelays(now time.Time) {
	network, strangers := d.mesh.relays.seeks(now)
	if began := !d.seek.network.Swap(network) && network; !d.seek.strangers.Swap(strangers) && strangers || began {
		if d.sources.dht != nil {
			d.sources.dht.Wake()
		}
	}
	lost := d.mesh.relays.lost(now)
	if before := d.seek.lost.Load(); before == nil && len(lost) > 0 || before != nil && !slices.Equal(*before, lost) {
		d.seek.lost.Store(&lost)
		select {
		case d.seek.news <- struct{}{}:
		default:
		}
	}
}

// seek is what the loop wants of the DHT besides members.
type seek struct {
	network, strangers atomic.Bool // relays of this network, and everyone's
	lost               atomic.Pointer[[]relaywire.ServerPublic]
	news               chan struct{} // of lost; holds one
}

const (
	lostEvery = 20 * time.Second // while one is
	// Between two look-ups of one relay it is twice as long each time, up to this:
	// the first may come before the relay has told the DHT.
	lostAgain = 2 * time.Minute
)

// findLost looks up where relays are that do not answer any more where they were:
// they say so in the DHT, under their key.
func (d *daemon) findLost(ctx context.Context) error {
	type search struct {
		next  time.Time
		pause time.Duration
	}
	asked := make(map[relaywire.ServerPublic]search)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.seek.news:
		case <-again.C:
		}
		lost := d.seek.lost.Load()
		if lost == nil || len(*lost) == 0 {
			clear(asked)
			continue
		}
		again.Reset(lostEvery)
		for _, key := range *lost {
			before := asked[key]
			if time.Now().Before(before.next) {
				continue
			}
			if len(asked) >= 2*maxRelays {
				clear(asked)
			}
			pause := min(max(lostEvery, 2*before.pause), lostAgain)
			asked[key] = search{time.Now().Add(pause), pause}
			if err := d.findRelay(ctx, key); err != nil {
				d.log.Debug("look a relay up", "key", key, "err", err)
			}
		}
	}
}

func (d *daemon) findRelay(ctx context.Context, key relaywire.ServerPublic) error {
	ctx, cancel := context.WithTimeout(ctx, lostEvery)
	defer cancel()
	item, err := d.sources.dht.GetItem(ctx, key, relaywire.ItemSalt)
	if err != nil {
		return err
	}
	addrs, err := relaywire.ParseItem(item)
	if err != nil {
		return err
	}
	found := d.hintRelay(relayHint{strangerRelay, key})
	for _, a := range addrs {
		if addr, ok := a.AddrPort(); ok {
			found(addr)
			continue
		}
		ips, err := d.lookupIP(ctx, a.Host)
		if err != nil {
			return err
		}
		for _, ip := range ips {
			found(netip.AddrPortFrom(ip.Unmap(), a.Port))
		}
	}
	return nil
}
