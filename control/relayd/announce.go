package relayd

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/mainline"
	"github.com/credant/credant/relay/wire"
)

// announced is what the DHT is told of this relay, from goroutines of its own.
type announced struct {
	key wire.ServerPrivate

	mu     sync.Mutex
	silent bool
	allow  []keys.NetworkID
	given  []wire.ServerAddress    // that mean something on the internet
	seen   map[bool]netip.AddrPort // where the internet sees this host, by "is IPv6"
}

func newAnnounced(key wire.ServerPrivate, c Config, give []wire.ServerAddress) *announced {
	a := &announced{key: key, seen: make(map[bool]netip.AddrPort)}
	a.give(give)
	a.set(c)
	return a
}

// give says how nodes name the relay from now on.
func (a *announced) give(give []wire.ServerAddress) {
	var given []wire.ServerAddress
	for _, g := range give {
		if at, ok := g.AddrPort(); ok && private(at.Addr()) {
			continue
		}
		given = append(given, g)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.given = given
}

func (a *announced) set(c Config) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent, a.allow = c.NoAnnounce, c.Allow
}

// seenAt takes an address at which others see the front port, and tells whether
// it is news to those who were given none that means something to them.
func (a *announced) seenAt(addr netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	six := addr.Addr().Is6()
	news := a.seen[six] != addr && len(a.given) == 0
	a.seen[six] = addr
	return news
}

// addrs are those in the item. What others see stands in only where this host
// knows no address of its own that means something to them.
func (a *announced) addrs() []wire.ServerAddress {
	if len(a.given) > 0 {
		return a.given
	}
	var seen []wire.ServerAddress
	for _, six := range []bool{false, true} {
		if addr := a.seen[six]; addr.IsValid() {
			seen = append(seen, wire.ServerAddress{Host: addr.Addr().String(), Port: addr.Port()})
		}
	}
	return seen
}

// hashes are where nodes look for a relay: those of the networks that it serves,
// or everyone's.
func (a *announced) hashes(time.Time) [][20]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.silent:
		return nil
	case len(a.allow) == 0:
		return [][20]byte{keys.PublicRelayInfoHash()}
	}
	var all [][20]byte
	for _, id := range a.allow {
		all = append(all, id.RelayInfoHash())
	}
	return all
}

// value is the item: the relay's addresses.
func (a *announced) value() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.silent {
		return nil
	}
	return wire.EncodeItem(a.addrs())
}

// dhtAddrs are where the DHT node is: one address a family, the one that it has
// for as long as that is served, because its id follows from it.
func dhtAddrs(before, locals []netip.Addr) (addrs []netip.Addr) {
	for _, is4 := range []bool{true, false} {
		own := func(a netip.Addr) bool { return a.Is4() == is4 }
		i := slices.IndexFunc(before, func(a netip.Addr) bool { return own(a) && slices.Contains(locals, a) })
		if i >= 0 {
			addrs = append(addrs, before[i])
		} else if i := slices.IndexFunc(locals, own); i >= 0 {
			addrs = append(addrs, locals[i])
		}
	}
	return addrs
}

// newDHT makes this host a DHT node on the front port of addrs, at most one a
// family.
func newDHT(c Config, f *fronts, a *announced, addrs []netip.Addr, located func(netip.AddrPort)) *mainline.Source {
	config := mainline.Config{
		Bootstrap:  c.DHTBootstrap,
		KnownNodes: readNodes(c.StateDir, c.Log),
		Announce:   a.hashes,
		Item:       &mainline.Item{Key: ed25519.NewKeyFromSeed(a.key.Seed()), Salt: wire.ItemSalt, Value: a.value},
		Serve:      true,
		Located:    func(addr netip.AddrPort, _ bool) { located(addr) },
		Log:        c.Log,
	}
	for _, host := range c.Advertise {
		if addr, err := netip.ParseAddr(host); err == nil {
			config.Public = append(config.Public, addr)
		}
	}
	for _, addr := range addrs {
		conn := f.dhtConn(addr)
		switch {
		case conn == nil: // it has just gone: the next move is under way
		case addr.Is4():
			config.IPv4 = conn
		default:
			config.IPv6 = conn
		}
	}
	return mainline.New(config)
}

// nodesFile remembers DHT nodes, an address a line, so that a restart needs no
// bootstrap nodes. It can be lost.
const nodesFile = "dht.nodes"

func readNodes(stateDir string, log *slog.Logger) []netip.AddrPort {
	b, err := os.ReadFile(filepath.Join(stateDir, nodesFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("dht nodes not remembered", "err", err)
		}
		return nil
	}
	var nodes []netip.AddrPort
	for line := range strings.Lines(string(b)) {
		addr, err := netip.ParseAddrPort(strings.TrimSpace(line))
		if err == nil && len(nodes) < mainline.MaxNodes {
			nodes = append(nodes, addr)
		}
	}
	return nodes
}

func writeNodes(stateDir string, nodes []netip.AddrPort, log *slog.Logger) {
	if len(nodes) == 0 {
		return // what answered last time may do so again
	}
	var b bytes.Buffer
	for _, n := range nodes {
		b.WriteString(n.String() + "\n")
	}
	if err := replace(stateDir, nodesFile, b.Bytes()); err != nil {
		log.Warn("remember dht nodes", "err", err)
	}
}
