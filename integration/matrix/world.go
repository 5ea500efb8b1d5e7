package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credant/credant/control"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// A mode is what two nodes have to find each other by.
type mode string

const (
	byRelay  mode = "relay"
	byMember mode = "member" // a third member that both can reach
	byDHT    mode = "DHT"
)

var modes = []mode{byRelay, byMember, byDHT}

// A world is one internet with the places of all pairs in it, which are tried one after the other or side by side: each
// try is a network of its own.
type world struct {
	*lab.Lab
	binary  string
	backend string
	relay   *member.Relay
	hub     *lab.Host
	dht     *lab.DHT // nil unless asked for
	stun    *lab.STUNServer
	places  map[string]*place // by pair
	tries   atomic.Int32
}

// A place is where one pair's two nodes are. Two pairs may share a site, so a try holds both.
type place struct {
	hosts [2]*lab.Host
	sites [2]*site // the same twice for neighbours
}

type site struct {
	*lab.Site
	mu      sync.Mutex
	gateway *lab.Gateway // nil: none, or not yet
}

// programs are the files of credant and credant-relay.
type programs struct{ node, relay string }

func newWorld(ctx context.Context, programs programs, all []pair, delay time.Duration, withDHT bool) (_ *world, err error) {
	w := &world{Lab: lab.New(), binary: programs.node, backend: "embedded", places: make(map[string]*place)}
	w.Delay = delay
	relayHost, stunHost := w.Host("vps"), w.Host("stun")
	relayHost.Addresses, stunHost.Addresses = 2, 2
	w.hub = w.Host("hub")
	var dhtHost *lab.Host
	if withDHT {
		dhtHost = w.Host("dht")
		dhtHost.Addresses = 16
	}
	w.settle(all)
	if err := w.Build(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.admitStreams(ctx); err != nil {
		return nil, err
	}
	w.relay = &member.Relay{Host: relayHost, Binary: programs.relay, Flags: []string{"--no-dht"}}
	if err := w.relay.Start(ctx); err != nil {
		return nil, err
	}
	if w.stun, err = stunHost.StartSTUN(); err != nil {
		return nil, err
	}
	if withDHT {
		if w.dht, err = dhtHost.StartDHT(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// admitStreams lets host firewalls take in what comes out of the tunnel, as whoever offers a service there does.
func (w *world) admitStreams(ctx context.Context) error {
	for _, p := range w.places {
		for _, h := range p.hosts {
			if !h.Firewall {
				continue
			}
			result, err := h.Run(ctx, "nft", "add", "rule", "inet", "firewall", "input", "iifname", "credant*", "accept")
			if err == nil && result.Code != 0 {
				err = fmt.Errorf("open the firewall of %s for the tunnel: %s", h.Name, result.Output)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) close() error {
	var err error
	if w.stun != nil {
		err = w.stun.Close()
	}
	return errors.Join(err, w.Close())
}

// settle describes the places: two sites a kind, and one for each pair of neighbours.
func (w *world) settle(all []pair) {
	var sites [2]map[string]*place
	for side := range sites {
		sites[side] = make(map[string]*place)
	}
	at := func(side int, kind lab.Kind) *place {
		p := sites[side][kind.Short]
		if p == nil {
			s := &site{Site: w.Site(string(rune('a'+side)), kind)}
			p = &place{sites: [2]*site{s, s}, hosts: [2]*lab.Host{s.Host(), nil}}
			sites[side][kind.Short] = p
		}
		return p
	}
	for _, p := range all {
		if p.near != apart {
			both := at(0, p.a)
			if both.hosts[1] == nil {
				both.hosts[1] = both.sites[0].Neighbour()
			}
			w.places[p.String()] = both
			continue
		}
		a, b := at(0, p.a), at(1, p.b)
		w.places[p.String()] = &place{sites: [2]*site{a.sites[0], b.sites[0]}, hosts: [2]*lab.Host{a.hosts[0], b.hosts[0]}}
	}
}

// hold keeps other tries away from the place. Sites are always taken in this order, so nobody waits in a circle.
func (p *place) hold() (release func()) {
	p.sites[0].mu.Lock()
	if p.sites[1] == p.sites[0] {
		return p.sites[0].mu.Unlock
	}
	p.sites[1].mu.Lock()
	return func() {
		p.sites[1].mu.Unlock()
		p.sites[0].mu.Unlock()
	}
}

// reset makes the routers forget what the try before did.
func (p *place) reset(ctx context.Context) error {
	if err := p.sites[0].reset(ctx); err != nil || p.sites[1] == p.sites[0] {
		return err
	}
	return p.sites[1].reset(ctx)
}

func (s *site) reset(ctx context.Context) (err error) {
	switch {
	case !s.Kind.Gateway:
		return s.Reset()
	case s.gateway != nil:
		return s.gateway.Reboot(ctx)
	}
	s.gateway, err = s.Routers[0].StartGateway(ctx, lab.GatewayConfig{})
	return err
}

// hubPort is the first of the ports that members in the middle listen on.
const hubPort = 21000

// A network is one try's.
type network struct {
	w     *world
	name  string
	key   string
	port  uint16 // of the member in the middle
	flags []string
	hub   *member.Member
}

// network makes a network that nobody has been in, and what its nodes find each other by.
func (w *world) network(ctx context.Context, m mode, deaf bool) (*network, error) {
	number := w.tries.Add(1)
	n := &network{w: w, name: fmt.Sprintf("try%d", number), port: hubPort + uint16(number)}
	key, err := keys.DeriveNetworkKey([]byte(member.Passphrase), n.name)
	if err != nil {
		return nil, err
	}
	n.key = base64.StdEncoding.EncodeToString(key.Bytes())
	n.flags = []string{"--backend", w.backend, "--log-level", "debug"}
	if deaf {
		n.flags = append(n.flags, "--no-lan")
	}
	if m != byDHT {
		n.flags = append(n.flags, "--no-dht")
	}
	switch m {
	case byDHT:
		n.flags = append(n.flags, "--dht-bootstrap", w.dht.Bootstrap.String(), "--dht-bootstrap", w.dht.Bootstrap6.String())
	case byMember:
		n.hub, err = n.member(w.hub)
		if err != nil {
			return nil, err
		}
		if err := n.hub.Start("--port", fmt.Sprint(n.port), "--no-lan", "--no-stun"); err != nil {
			return nil, err
		}
		if _, err := n.hub.WaitUp(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// member joins the host to the network, not started yet: the key is where an earlier up would have left it.
func (n *network) member(h *lab.Host) (*member.Member, error) {
	m := &member.Member{Host: h, Binary: n.w.binary, Network: n.name, Joined: true, Flags: slices.Clone(n.flags)}
	err := h.Do(func() error {
		dir := filepath.Join(control.DefaultStateDir, n.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "network.key"), []byte(n.key+"\n"), 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("store the network's key on %s: %w", h.Name, err)
	}
	return m, nil
}

// tell gives the flags that name servers, by addresses of the families that the kind has.
func (n *network) tell(m *member.Member, kind lab.Kind, by mode) {
	address := func(h *lab.Host) netip.Addr {
		if kind.IPv4 {
			return h.IPv4()[0]
		}
		return h.IPv6()[0]
	}
	servers := n.w.stun.Addr
	if !kind.IPv4 {
		servers = n.w.stun.Addr6
	}
	m.Flags = append(m.Flags, "--stun", servers[0].String(), "--stun", servers[1].String())
	switch by {
	case byRelay:
		m.Flags = append(m.Flags, "--relay", n.w.relay.At(address(n.w.relay.Host)))
	case byMember:
		m.Flags = append(m.Flags, "--bootstrap", netip.AddrPortFrom(address(n.w.hub), n.port).String())
	}
}
