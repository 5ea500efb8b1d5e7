package control

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/lan"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

func newDaemon(ctx context.Context, c Config, network keys.NetworkKey) (*daemon, error) {
	clearUnfinished(networkDir(c.StateDir, c.Network))
	kept, err := loadKept(c.StateDir, c.Network)
	if err != nil {
		return nil, err
	}
	id, remembered, own := kept.identity, kept.memory, kept.own
	if c.NameOrigin == "" && own.Name != "" {
		c.Name = own.Name
	}
	if err := c.exitElsewhere(c.Name, string(id.node.Public().ID()), kept.pins); err != nil {
		return nil, err
	}
	d := &daemon{
		config: c, own: own, log: c.Log, started: time.Now(), resident: residence{time.Now(), time.Now()}, memory: remembered,
		events: newEventLog(), drops: newDrops(), seek: seek{news: make(chan struct{}, 1)},
		hints: make(chan hint, hintQueue), views: make(chan view, 64), calls: make(chan func()), woken: make(chan struct{}, 1), saves: make(chan discovery.Cache, 1),
	}
	d.notices = append(d.notices, kept.notices...)
	asked := newSubnet(network, id.node.Public(), c.Subnet, remembered.Subnet).prefix()
	if err := checkFixed(c.IPs, asked, network.Prefix6()); err != nil {
		return nil, err
	}
	if remembered.Port == lan.Port { // of a version that did not leave it out
		remembered.Port = 0
	}
	wanted := cmp.Or(c.Port, remembered.Port, randomPort())
	open := func(iface string) (*wgsetup.Device, error) {
		return wgsetup.Open(ctx, wgsetup.Config{
			Network: c.Network, Interface: iface, Backend: wgsetup.Backend(c.Backend),
			PrivateKey: id.wireGuard, Port: wanted, Log: c.Log,
		})
	}
	d.device, err = open(cmp.Or(c.Interface, remembered.Interface))
	if err != nil && c.Interface == "" && remembered.Interface != "" {
		d.device, err = open("") // the remembered name is another's by now
	}
	if err != nil {
		return nil, err
	}
	if d.device.Port() != wanted {
		d.notices = append(d.notices, fmt.Sprintf("UDP port %d is taken: using %d", wanted, d.device.Port()))
	}
	for _, text := range []string{lowPort(d.device.Port(), !c.NoDHT), beaconPort(d.device.Port(), !c.NoLAN)} {
		if text != "" {
			d.notices = append(d.notices, text)
		}
	}
	d.port = newOnePort(d.device.SidePort(), d.drops)
	d.mesh = newMesh(time.Now(), meshConfig{
		network: network,
		self: self{
			node: id.node, public: id.node.Public(), wireGuard: id.wireGuard.PublicKey(),
			probe: keys.GenerateProbe(), name: c.Name, port: d.device.Port(),
		},
		subnet: c.Subnet, fixed: c.IPs,
		clash:     func(p netip.Prefix) (string, bool) { return wgsetup.Clash(p, d.device.Name()) },
		forgotten: own.Forgotten, ephemeral: c.Ephemeral,
		memory: remembered, heldNames: kept.names, stun: !c.NoSTUN, noSpray: c.NoSpray, drops: d.drops,
		canRedirect: d.device.CanRedirect,
		routes:      c.RouteConfig, pins: kept.pins, blocked: newBlockList(kept.blocked),
	})
	d.mesh.rename(c.Name, own.Aliases)
	d.puncher = puncher{
		open:     func(n int) (extraPorts, error) { return d.device.OpenPorts(n) },
		setKept:  d.device.SetKept,
		received: d.port.handleExtra,
		warn:     d.warn,
	}
	d.mapping.changed = make(chan struct{}, 1)
	if !c.NoPortMapping {
		d.mapping.mapper = d.newMapper()
	}
	d.check.results = make(chan natpunch.NATStatus, 4)
	if !c.NoSTUN {
		d.check.runner = d.newChecker()
	}
	d.naming = d.newNaming()
	d.cache = openCache(filepath.Join(networkDir(c.StateDir, c.Network), "cache"), c.Log)
	d.sources = d.newSources(network)
	if d.sources.dht != nil {
		d.board = newNoteBoard(network, id.node.Public(), d.sources.dht, d.foundNote)
	}
	return d, nil
}

// lowPort says what a well-known port costs: the DHT lets anyone name any address, so that nobody
// sends a hello to such a port on its word.
func lowPort(port uint16, dht bool) string {
	if port >= discovery.MinDHTPort || !dht {
		return ""
	}
	return fmt.Sprintf("UDP port %d is under %d, where other nodes do not follow the DHT: they find this one on the local network, at relays and by --bootstrap; choose a higher --port to be found by the DHT", port, discovery.MinDHTPort)
}

// beaconPort says what it costs to have the port at which beacons of the local network are heard.
func beaconPort(port uint16, beacons bool) string {
	if port != lan.Port || !beacons {
		return ""
	}
	return fmt.Sprintf("UDP port %d is where nodes of one local network hear each other, which this one cannot now: give another --port, or none at all", port)
}
