package relay

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// client is a node as the tests need it: it does what it is told, at once.
type client struct {
	w       *world
	signer  wire.Signer
	addr    netip.AddrPort
	front   netip.AddrPort
	session *wire.Session
	number  uint32
	cookies map[netip.AddrPort]wire.Cookie // by where they are good

	tx        wire.TransactionID
	challenge *wire.Challenge
	responses []wire.Response
	pushes    []wire.Push
	window    wire.Window
	resets    int
}

func (w *world) network() wire.Signer {
	seed := w.seed()
	key, err := keys.ParseNetworkKey(seed[:])
	if err != nil {
		w.tb.Fatal(err)
	}
	return wire.Signer{Network: key.ID(), Member: key.SignID}
}

// join makes another node of a network at an address.
func (w *world) join(network wire.Signer, addr string) *client {
	w.tb.Helper()
	return w.joinAt(network, netip.MustParseAddrPort(addr))
}

func (w *world) joinAt(network wire.Signer, addr netip.AddrPort) *client {
	w.tb.Helper()
	seed := w.seed()
	node, err := keys.ParseNodePrivate(seed[:])
	if err != nil {
		w.tb.Fatal(err)
	}
	network.Node = node
	c := &client{w: w, signer: network, front: front4, cookies: make(map[netip.AddrPort]wire.Cookie)}
	if addr.Addr().Is6() {
		c.front = front6
	}
	c.move(addr)
	return c
}

func (c *client) node() keys.NodePublic { return c.signer.Node.Public() }

// move gives the client another address; its cookies are of the old one.
func (c *client) move(addr netip.AddrPort) {
	if c.w.clients[c.addr] == c {
		delete(c.w.clients, c.addr)
	}
	c.addr = addr
	c.w.clients[addr] = c
}

func (c *client) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(c.front.Addr(), port) }

func (c *client) receive(out Send) {
	kind, _ := wire.ParseHeader(out.Data)
	switch kind {
	case wire.KindChallenge:
		ch, err := wire.OpenChallenge(out.Data, c.tx, c.w.s.cfg.Identity.Public())
		if err != nil {
			return // an answer to what another sent in its name
		}
		if ch.Observed != c.addr {
			c.w.tb.Fatalf("observed at %v, is at %v", ch.Observed, c.addr)
		}
		c.challenge, c.cookies[out.From] = &ch, ch.Cookie
	case wire.KindResponse:
		if c.session == nil {
			return
		}
		r, err := c.session.OpenResponse(out.Data)
		if err != nil {
			return // to a session that is over
		}
		if !r.Cookie.IsZero() {
			c.cookies[out.From] = r.Cookie
		}
		c.responses = append(c.responses, r)
	case wire.KindPush:
		if c.session == nil {
			return
		}
		p, err := c.session.OpenPush(out.Data)
		if err == nil && c.window.Take(p.Number) {
			c.pushes = append(c.pushes, p)
		}
	case wire.KindReset:
		c.resets++
	default:
		c.w.tb.Fatalf("a client was sent %v", kind)
	}
}

// ask gets a cookie for one of the relay's ports.
func (c *client) ask(at netip.AddrPort) string {
	c.w.tb.Helper()
	binary.BigEndian.PutUint64(c.tx[:], c.w.rng.Uint64())
	c.challenge = nil
	reason := c.w.receive(at, c.addr, wire.AppendAsk(nil, c.tx))
	if c.challenge != nil && (c.session == nil || c.session.ExchangeKey() != c.challenge.Exchange) {
		c.newSession()
	}
	return reason
}

// newSession starts over, as another process would.
func (c *client) newSession() {
	c.w.tb.Helper()
	seed := rand.NewChaCha8(c.w.seed())
	session, err := wire.NewSession(c.w.s.cfg.Identity.Public(), c.w.s.exchange.Key(), seed)
	if err != nil {
		c.w.tb.Fatal(err)
	}
	c.session, c.number, c.window = session, 0, wire.Window{}
}

// seal makes a request to a port, with the cookie that the client has for it.
func (c *client) seal(at netip.AddrPort, r wire.Request) []byte {
	c.w.tb.Helper()
	c.number++
	r.Number = c.number
	b, err := c.session.SealRequest(c.cookies[at], at.Port(), r, c.signer)
	if err != nil {
		c.w.tb.Fatal(err)
	}
	return b
}

// request asks and gets the response, nil where there was none.
func (c *client) request(at netip.AddrPort, r wire.Request) *wire.Response {
	c.w.tb.Helper()
	for range 2 {
		if c.cookies[at].IsZero() {
			c.ask(at)
			if c.challenge == nil {
				return nil
			}
		}
		b := c.seal(at, r)
		// It has shown that it gets what is sent there.
		c.w.proven[c.addr] = true
		c.responses = nil
		c.w.receive(at, c.addr, b)
		for i := range c.responses {
			got := &c.responses[i]
			if got.Number != c.number {
				continue
			}
			if got.Error != nil && got.Error.Code == wire.CodeCookie {
				break // once more, with the fresh cookie
			}
			return got
		}
		if len(c.responses) == 0 {
			delete(c.cookies, at)
		}
	}
	return nil
}

func (c *client) register(blob string, have wire.Have) *wire.Response {
	c.w.tb.Helper()
	return c.request(c.front, wire.Request{Register: &wire.Register{Blob: []byte(blob), Have: have}})
}

// mustRegister registers and returns how many others there are.
func (c *client) mustRegister(blob string) int {
	c.w.tb.Helper()
	r := c.register(blob, wire.Have{})
	if r == nil || r.Registered == nil {
		c.w.tb.Fatalf("registration answered with %+v", r)
	}
	return r.Registered.Others
}

func (c *client) refresh(have wire.Have) *wire.Response {
	c.w.tb.Helper()
	return c.request(c.front, wire.Request{Refresh: &wire.Refresh{Have: have}})
}

func (c *client) allocate(peers ...keys.NodePublic) []wire.Allocated {
	c.w.tb.Helper()
	r := c.request(c.front, wire.Request{Allocate: &wire.Allocate{Peers: peers}})
	if r == nil {
		return nil
	}
	return r.Allocated
}

// mustAllocate returns the port of the pair.
func (c *client) mustAllocate(peer *client) uint16 {
	c.w.tb.Helper()
	list := c.allocate(peer.node())
	if len(list) != 1 || list[0].Port == 0 || list[0].Peer != peer.node() {
		c.w.tb.Fatalf("allocation answered with %+v", list)
	}
	return list[0].Port
}

func (c *client) bind(port uint16, peer keys.NodePublic) *wire.Response {
	c.w.tb.Helper()
	return c.request(c.at(port), wire.Request{Bind: &wire.Bind{Peer: peer}})
}

// mustBind says whether the peer is bound.
func (c *client) mustBind(port uint16, peer *client) bool {
	c.w.tb.Helper()
	r := c.bind(port, peer.node())
	if r == nil || r.Bound == nil {
		c.w.tb.Fatalf("bind answered with %+v", r)
	}
	return r.Bound.PeerBound
}

// connect gives two clients a bound allocation.
func (w *world) connect(a, b *client) uint16 {
	w.tb.Helper()
	port := a.mustAllocate(b)
	if again := b.mustAllocate(a); again != port {
		w.tb.Fatalf("one pair has ports %d and %d", port, again)
	}
	a.mustBind(port, b)
	if !b.mustBind(port, a) {
		w.tb.Fatal("both have bound, and the peer is not")
	}
	return port
}

// reach says whether a datagram of a to its side of port arrives at b, and
// leaves from the port.
func (w *world) reach(a, b *client, port uint16) error {
	f, ok := w.flows[FlowKey{At: a.at(port), Source: a.addr}]
	switch {
	case !ok:
		return fmt.Errorf("no flow from %v at port %d", a.addr, port)
	case f.To != b.addr || f.From != b.at(port):
		return fmt.Errorf("%v, want to %v", f, b.addr)
	}
	return nil
}

// blobs are those that were pushed, of each node the one with the highest
// number: a copy may come after a later push.
func (c *client) blobs() map[keys.NodePublic]string {
	got := make(map[keys.NodePublic]string)
	pushes := slices.SortedFunc(slices.Values(c.pushes), func(a, b wire.Push) int { return int(a.Number) - int(b.Number) })
	for _, p := range pushes {
		switch {
		case p.Blob != nil:
			got[p.Blob.Node] = string(p.Blob.Data)
		case p.Gone != nil:
			delete(got, p.Gone.Node)
		}
	}
	return got
}

// have sums up what was pushed.
func (c *client) have() (h wire.Have) {
	for node, blob := range c.blobs() {
		h.Toggle(node, []byte(blob))
	}
	return h
}
