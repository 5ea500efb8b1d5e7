package control

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/lan"
	"github.com/credant/credant/discovery/mainline"
	"github.com/credant/credant/discovery/static"
	"github.com/credant/credant/natpunch/netcheck"
)

// sources are what names addresses. A nil one is switched off.
type sources struct {
	dht    *mainline.Source
	lan    *lan.Source
	static *static.Source
	stun   *static.Source   // resolves the STUN servers
	relays []*static.Source // resolves one relay each
}

func (d *daemon) newSources(network keys.NetworkKey) sources {
	var s sources
	lookups := d.newLookups()
	found := func(source discovery.Source) func(netip.AddrPort) {
		return func(addr netip.AddrPort) {
			select {
			case d.hints <- hint{source: source, addr: addr}:
			default:
				d.drops.count("hints-busy")
			}
		}
	}
	if !d.config.NoDHT {
		s.dht = mainline.New(mainline.Config{
			IPv4:       d.port.dht[false],
			IPv6:       d.port.dht[true],
			Bootstrap:  d.dhtBootstrap(),
			Lookups:    d.relayLookups(network.ID()),
			KnownNodes: d.cache.nodes(),
			InfoHashes: func(now time.Time) [][20]byte {
				var all [][20]byte
				for _, day := range keys.Days(now) {
					all = append(all, network.InfoHash(day))
				}
				return all
			},
			Forwarded: d.forwarded,
			LookupIP:  lookups.lookupIP,
			Found:     found(discovery.SourceDHT),
			Seen:      func(by, addr netip.AddrPort) { d.sighted(view{by: by, addr: addr}) },
			Located: func(addr netip.AddrPort, moved bool) {
				d.sighted(view{addr: addr, agreed: true, moved: moved})
			},
			Log: d.log,
		})
	}
	if !d.config.NoLAN {
		s.lan = lan.New(lan.Config{
			BeaconKey: network.BeaconKey(),
			Node:      d.mesh.self.public,
			Port:      d.device.Port,
			Skip:      d.isOverlay,
			Refuse:    d.mesh.blocked.has,
			Found:     found(discovery.SourceLAN),
			Log:       d.log,
		})
	}
	if len(d.config.Bootstrap) > 0 {
		s.static = static.New(static.Config{Addresses: d.config.Bootstrap, Found: found(discovery.SourceStatic), Resolver: lookups, Log: d.log})
	}
	for _, text := range d.config.Relays {
		s.relays = append(s.relays, d.relaySource(text, lookups))
	}
	if !d.config.NoSTUN {
		servers := d.config.STUN
		if servers == nil {
			servers = netcheck.DefaultServers()
		}
		s.stun = static.New(static.Config{Addresses: servers, Found: found(sourceSTUN), Resolver: lookups, Log: d.log})
	}
	return s
}

// sighted hands a view to the loop. What that has no time for comes again with
// another answer.
func (d *daemon) sighted(v view) {
	select {
	case d.views <- v:
	default:
		d.drops.count("views-busy")
	}
}

// isOverlay tells whether an interface is a tunnel of ours, on which nobody
// looks for members.
func (d *daemon) isOverlay(iface string) bool {
	return iface == d.device.Name() || strings.HasPrefix(iface, "credant")
}

func (s sources) kick() {
	if s.dht != nil {
		s.dht.Kick()
	}
	if s.lan != nil {
		s.lan.Kick()
	}
	if s.static != nil {
		s.static.Kick()
	}
	for _, r := range s.relays {
		r.Kick()
	}
}

const (
	watchEarly   = 200 * time.Millisecond // while somebody may be looking on
	watchLate    = 30 * time.Second
	watchedEarly = 2 * time.Minute
)

// watchSources tells as events what the sources begin and stop doing, until
// ctx ends.
func (d *daemon) watchSources(ctx context.Context) error {
	told := make(map[string]string)
	began := time.Now()
	every := time.NewTicker(watchEarly)
	defer every.Stop()
	for {
		if d.sources.dht != nil {
			d.tell(told, "DHT", d.sources.dht.Status())
		}
		if d.sources.lan != nil {
			d.tell(told, "LAN", d.sources.lan.Status())
		}
		if d.sources.static != nil {
			d.tell(told, "given addresses", d.sources.static.Status())
		}
		if time.Since(began) > watchedEarly {
			every.Reset(watchLate)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// tell makes an event of a status that differs from the last one in its state
// or in the first word of its detail: numbers alone are no news.
func (d *daemon) tell(told map[string]string, name string, s discovery.SourceStatus) {
	what, _, _ := strings.Cut(s.Detail, " ")
	news := string(s.State) + " " + what
	if told[name] == news {
		return
	}
	told[name] = news
	if s.State == discovery.StateStarting && what == "starting" {
		return // nothing to tell yet
	}
	text := s.Detail
	if s.State == discovery.StateFailing {
		text = s.LastError
	}
	if text != "" {
		d.events.add(localapi.Event{Kind: "source", Text: name + ": " + text})
	}
}
