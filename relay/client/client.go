package client

import (
	"crypto/rand"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Config is who asks.
type Config struct {
	Network keys.NetworkID
	Sign    func([]byte) [64]byte // with the network's id key
	Node    keys.NodePrivate
	Rand    io.Reader // nil: crypto/rand
}

// Server is whom to ask.
type Server struct {
	Key   wire.ServerPublic // zero: whoever answers
	Addrs []netip.AddrPort
}

// Client is one relay's client. It is not safe for concurrent use.
type Client struct {
	signer wire.Signer
	rand   io.Reader
	out    []Output

	link         link
	session      *session // nil before the first challenge
	calls        calls
	registration registration
	pairs        pairs
}

// New returns a client that asks the server at its first Advance.
func New(config Config, server Server) *Client {
	c := &Client{
		signer: wire.Signer{Network: config.Network, Member: config.Sign, Node: config.Node},
		rand:   config.Rand,
		link:   link{want: server.Key, addrs: cleanAddrs(server.Addrs), state: StateAsking},
		calls:  calls{pending: make(map[uint32]*call)},
		pairs:  pairs{by: make(map[keys.NodePublic]*pair)},
	}
	if c.rand == nil {
		c.rand = rand.Reader
	}
	return c
}

// SetAddrs says where the relay may be: it is asked at all of them side by side,
// IPv6 a little ahead, and the first answer wins and is kept as long as it works.
func (c *Client) SetAddrs(now time.Time, addrs []netip.AddrPort) {
	addrs = cleanAddrs(addrs)
	if slices.Equal(addrs, c.link.addrs) {
		return
	}
	c.link.addrs = addrs
	if c.link.begun && c.link.state != StateUp {
		c.link.ask(now)
	}
}

// SetBlob registers the node with a blob of at most wire.MaxBlob bytes, in place
// of the one before. With nil the node is registered no longer.
func (c *Client) SetBlob(now time.Time, blob []byte) { c.setBlob(now, blob) }

// SetPeers says which pairs want an allocation: the complete list. There is no
// Lost for a pair that is not in it any more.
func (c *Client) SetPeers(now time.Time, peers []keys.NodePublic) { c.setPeers(now, peers) }

// Recheck says that this node may reach the relay another way than before: all
// is asked and bound anew, at once.
func (c *Client) Recheck(now time.Time) {
	if !c.link.begun {
		return
	}
	c.link.ask(now)
	if c.link.state == StateUp {
		c.bindAnew(now)
	}
}

// Owns reports whether addr is the relay's: one of its addresses, or a port that
// it has allocated.
func (c *Client) Owns(addr netip.AddrPort) bool {
	addr = plain(addr)
	return addr.IsValid() && (addr == c.link.addr || slices.Contains(c.link.addrs, addr) || c.pairs.at(addr) != nil)
}

// Receive takes in a relay frame that came from an address that the client Owns.
// It keeps nothing of b. Where the frame is of no use, drop is a word for it.
func (c *Client) Receive(now time.Time, from netip.AddrPort, b []byte) (drop string) {
	from = plain(from)
	if !c.Owns(from) {
		return "relay-source"
	}
	kind, ok := wire.ParseHeader(b)
	if !ok {
		return "version"
	}
	switch kind {
	case wire.KindChallenge:
		return c.receiveChallenge(now, from, b)
	case wire.KindResponse:
		return c.receiveResponse(now, from, b)
	case wire.KindPush:
		return c.receivePush(now, b)
	case wire.KindReset:
		return c.receiveReset(now, from, b)
	}
	return "kind"
}

// Advance returns what is to be done now. It is to be called after every other
// method and at the time that Next names.
func (c *Client) Advance(now time.Time) []Output {
	c.advanceLink(now)
	c.advanceCalls(now)
	c.advanceRegistration(now)
	c.advancePairs(now)
	out := c.out
	c.out = nil
	return out
}

// Next is when Advance has something to do; false where nothing is waited for.
func (c *Client) Next() (time.Time, bool) {
	if len(c.out) > 0 || !c.link.begun {
		return time.Time{}, true
	}
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	c.nextLink(sooner)
	c.nextCalls(sooner)
	c.nextRegistration(sooner)
	c.nextPairs(sooner)
	return next, !next.IsZero()
}

// Status returns the relay as the client sees it.
func (c *Client) Status() Status {
	s := Status{
		State: c.link.state, Addr: c.link.addr, Key: c.link.key, RTT: c.link.rtt, Observed: c.link.observed,
		Registered: c.registration.registered, Others: c.registration.others, LastError: c.lastError(),
	}
	if s.Key.IsZero() {
		s.Key = c.link.want
	}
	for _, p := range c.pairs.list {
		s.Allocations = append(s.Allocations, Allocation{p.peer, p.addr, p.bound, p.ready})
	}
	return s
}

// lastError is what is wrong at the moment, the worst first.
func (c *Client) lastError() string {
	if c.link.state == StateDown {
		return c.link.reason
	}
	if c.registration.trouble != "" {
		return c.registration.trouble
	}
	for _, p := range c.pairs.list {
		if p.trouble != "" {
			return p.trouble
		}
	}
	return ""
}

func (c *Client) tell(o Output) { c.out = append(c.out, o) }

// maxAddrs is at how many addresses one relay is asked.
const maxAddrs = 8

func cleanAddrs(in []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range in {
		if a = plain(a); a.IsValid() && a.Port() != 0 && len(out) < maxAddrs && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
