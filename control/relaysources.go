package control

import (
	"net"
	"net/netip"
	"strconv"
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
func (d *daemon) relaySource(text string) *static.Source {
	a, _ := relaywire.ParseServerAddress(text)
	return static.New(static.Config{
		Addresses: []string{hostPort(a)},
		Found:     d.hintRelay(relayHint{ownRelay, a.Key}),
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
		Active:     d.seek[0].Load,
		Found:      d.hintRelay(relayHint{class: networkRelay}),
	}}
	if !d.config.NoPublicRelay {
		all = append(all, mainline.Lookup{
			InfoHashes: one(keys.PublicRelayInfoHash()),
			Active:     d.seek[1].Load,
			Found:      d.hintRelay(relayHint{class: strangerRelay}),
		})
	}
	return all
}

// seekRelays tells the DHT what to search for besides members.
func (d *daemon) seekRelays(now time.Time) {
	network, strangers := d.mesh.relays.seeks(now)
	d.seek[0].Store(network)
	d.seek[1].Store(strangers)
}
