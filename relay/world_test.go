package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

var (
	front4 = netip.MustParseAddrPort("203.0.113.5:3478")
	front6 = netip.MustParseAddrPort("[2001:db8:5::5]:3478")
)

// world is a server in virtual time, the forwarder that does what it says, and
// the clients that speak to it. Datagrams arrive at once.
type world struct {
	tb      testing.TB
	rng     *rand.Rand
	now     time.Time
	s       *Server
	open    map[uint16]bool
	flows   map[FlowKey]Flow
	clients map[netip.AddrPort]*client
	// in and out count the bytes of each address before it has proved itself, by
	// what the server received and sent.
	in, out map[netip.AddrPort]int
	proven  map[netip.AddrPort]bool
	reasons map[string]int
	keysN   uint64
}

func newWorld(tb testing.TB, seed uint64) *world {
	return newWorldWith(tb, seed, Config{}, tableLimits)
}

func newWorldWith(tb testing.TB, seed uint64, cfg Config, most limits) *world {
	w := &world{
		tb: tb, rng: rand.New(rand.NewPCG(seed, 0)),
		now:     time.Unix(1e6, 0),
		open:    make(map[uint16]bool),
		flows:   make(map[FlowKey]Flow),
		clients: make(map[netip.AddrPort]*client),
		in:      make(map[netip.AddrPort]int), out: make(map[netip.AddrPort]int),
		proven:  make(map[netip.AddrPort]bool),
		reasons: make(map[string]int),
	}
	w.s = newServer(w.config(cfg), most)
	return w
}

func (w *world) config(cfg Config) Config {
	seed := w.seed()
	identity, err := wire.ParseServerPrivate(seed[:])
	if err != nil {
		w.tb.Fatal(err)
	}
	cfg.Identity = identity
	cfg.Locals = []netip.Addr{front4.Addr(), front6.Addr()}
	if cfg.Rand == nil {
		cfg.Rand = rand.NewChaCha8(w.seed())
	}
	return cfg
}

func (w *world) seed() [32]byte {
	w.keysN++
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("test"), w.keysN))
}

// restart puts another server in the place of this one, with the same identity.
func (w *world) restart() {
	cfg := w.s.cfg
	w.s = newServer(cfg, w.s.limits)
	w.open, w.flows = make(map[uint16]bool), make(map[FlowKey]Flow)
}

// receive hands the server a datagram, carries out what it says, and returns
// the reason.
func (w *world) receive(at, from netip.AddrPort, b []byte) string {
	w.tb.Helper()
	w.now = w.now.Add(time.Millisecond)
	if !w.proven[from] {
		w.in[from] += len(b)
	}
	before := slices.Clone(b)
	reason := w.s.Receive(w.now, at, from, b)
	if !slices.Equal(b, before) {
		w.tb.Fatal("the server changed what it received")
	}
	clear(b) // it keeps nothing of it
	w.reasons[reason]++
	w.advance()
	return reason
}

func (w *world) unknown(at, from netip.AddrPort, b []byte) {
	w.in[from] += len(b)
	w.s.Unknown(w.now, at, from, b)
	w.advance()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.tb.Helper()
	end := w.now.Add(d)
	for {
		next, ok := w.s.Next()
		if !ok || next.After(end) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		w.advance()
	}
	w.now = end
	w.advance()
}

func (w *world) advance() {
	w.tb.Helper()
	for _, out := range w.s.Advance(w.now) {
		w.carryOut(out)
	}
	if next, ok := w.s.Next(); ok && !next.After(w.now) {
		w.tb.Fatalf("after Advance at %v the next is at %v", w.now, next)
	}
}

func (w *world) carryOut(out Output) {
	w.tb.Helper()
	switch out := out.(type) {
	case Send:
		w.send(out)
	case OpenPort:
		if w.open[out.Port] {
			w.tb.Fatalf("port %d is opened twice", out.Port)
		}
		w.open[out.Port] = true
	case ClosePort:
		for k := range w.flows {
			if k.At.Port() == out.Port {
				w.tb.Fatalf("port %d is closed under %v", out.Port, k)
			}
		}
		if !w.open[out.Port] {
			w.tb.Fatalf("port %d is closed and was not open", out.Port)
		}
		delete(w.open, out.Port)
	case Install:
		if !w.open[out.At.Port()] || out.From.Port() != out.At.Port() {
			w.tb.Fatalf("install %v: port not open, or two ports", out.Flow)
		}
		if !w.proven[out.Source] || !w.proven[out.To] {
			w.tb.Fatalf("install %v: a side never proved itself", out.Flow)
		}
		if len(out.Buckets) != 3 {
			w.tb.Fatalf("install %v with %d buckets", out.Flow, len(out.Buckets))
		}
		w.flows[out.FlowKey] = out.Flow
	case Remove:
		if _, ok := w.flows[out.FlowKey]; !ok {
			w.tb.Fatalf("remove %v: not there", out.FlowKey)
		}
		delete(w.flows, out.FlowKey)
	}
}

func (w *world) send(out Send) {
	w.tb.Helper()
	port := out.From.Port()
	if port != front4.Port() && !w.open[port] {
		w.tb.Fatalf("send from %v, which is not open", out.From)
	}
	if out.From.Addr().Is4() != out.To.Addr().Is4() || len(out.Data) > wire.MaxFrame {
		w.tb.Fatalf("send %d bytes from %v to %v", len(out.Data), out.From, out.To)
	}
	if !w.proven[out.To] {
		w.out[out.To] += len(out.Data)
		if w.out[out.To] > w.in[out.To] {
			w.tb.Fatalf("%v sent %d bytes and was sent %d without proof", out.To, w.in[out.To], w.out[out.To])
		}
	}
	if c := w.clients[out.To]; c != nil {
		c.receive(out)
	}
}

// check compares the flows with each other: each has its other direction.
func (w *world) check() {
	w.tb.Helper()
	for k, f := range w.flows {
		back, ok := w.flows[FlowKey{At: f.From, Source: f.To}]
		if !ok || back.From != k.At || back.To != k.Source {
			w.tb.Fatalf("%v has no way back", f)
		}
	}
	checkServer(w.tb, w.s)
}

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

// checkServer holds the server's tables to what must be true of them.
func checkServer(tb testing.TB, s *Server) {
	tb.Helper()
	held := make(map[*source]int)
	var sums [classes]map[*source][2]int
	for c := range sums {
		sums[c] = make(map[*source][2]int)
	}
	bound := 0
	perNetwork := make(map[*network][2]int)
	for _, r := range s.registered {
		of := r.node.network.class
		held[r.source]++
		x := sums[of][r.source]
		x[0]++
		sums[of][r.source] = x
		if r.node.reg != r || !slices.Contains(r.node.network.registered, r.node) {
			tb.Fatal("a registration is not its node's")
		}
	}
	users := make(map[uint16]int)
	for _, a := range s.board.list {
		w := a.network()
		held[a.source]++
		x := sums[w.class][a.source]
		x[1]++
		sums[w.class][a.source] = x
		y := perNetwork[w]
		y[1]++
		perNetwork[w] = y
		users[a.port]++
		if a.bound() {
			bound++
		}
		if a.bound() != (a.waits[0] == nil) || a.bound() != (a.waits[1] == nil) {
			tb.Fatalf("allocation bound %v waits %v", a.bound(), a.waits)
		}
		if s.board.pairs[pairOf(a.sides[0].node, a.sides[1].node)] != a || a.due.place == 0 {
			tb.Fatal("an allocation is not found or has no timer")
		}
		for i := range a.sides {
			side := &a.sides[i]
			if side.node.held[side.slot] != a || !side.node.ports.has(s.board.offset(a.port)) {
				tb.Fatal("a node does not hold its allocation")
			}
			if side.source == nil {
				continue
			}
			held[side.source]++
			if got := s.board.claims[side.key()]; got.allocation != a || got.side != i {
				tb.Fatalf("claim of %v is another's", side.key())
			}
		}
	}
	claims := 0
	for _, a := range s.board.list {
		for i := range a.sides {
			if a.sides[i].source != nil {
				claims++
			}
		}
	}
	if claims != len(s.board.claims) || bound != s.board.bound || len(s.board.pairs) != len(s.board.list) {
		tb.Fatalf("%d claims of %d, %d bound of %d", len(s.board.claims), claims, s.board.bound, bound)
	}
	for i, p := range s.board.state {
		if port := s.board.ports.First + uint16(i); p.users != users[port] {
			tb.Fatalf("port %d counts %d users, has %d", port, p.users, users[port])
		}
	}
	for _, src := range s.sources.list {
		if src.held != held[src] {
			tb.Fatalf("source holds %d, counts %d", held[src], src.held)
		}
		for c := range src.of {
			want := sums[c][src]
			if got := [2]int{src.of[c].registrations, src.of[c].allocations}; got != want {
				tb.Fatalf("source has %v, counts %v", want, got)
			}
		}
		delete(held, src)
	}
	if len(held) != 0 {
		tb.Fatal("a source that holds something was forgotten")
	}
	nodes := 0
	for _, w := range s.networks {
		nodes += len(w.nodes)
		var sum wire.Have
		for _, n := range w.registered {
			sum.Toggle(n.key, n.reg.blob)
		}
		if sum != w.sum || w.allocations != perNetwork[w][1] || len(w.nodes) == 0 {
			tb.Fatalf("network of %d nodes counts %d allocations, has %d", len(w.nodes), w.allocations, perNetwork[w][1])
		}
	}
	if nodes != len(s.nodes) {
		tb.Fatalf("%d nodes in networks, %d in all", nodes, len(s.nodes))
	}
	for _, n := range s.nodes {
		used := 0
		for _, word := range n.ports {
			for ; word != 0; word &= word - 1 {
				used++
			}
		}
		both := 0
		for _, a := range n.held {
			if a.bound() {
				both++
			}
		}
		if used != len(n.held) || both != n.forwarding {
			tb.Fatalf("node has %d ports for %d allocations, counts %d bound of %d", used, len(n.held), n.forwarding, both)
		}
		if n.idle() && (n.session == nil || n.due.place == 0) {
			tb.Fatal("a node is kept for nothing, or for ever")
		}
		if n.session != nil && s.sessions[n.keys.ClientKey()] != n {
			tb.Fatal("a session is not found")
		}
	}
	if len(s.nodes) > s.limits.nodes || len(s.registered) > s.limits.registrations ||
		len(s.board.list) > s.board.limit || len(s.sources.list) > s.sources.limit+s.sources.limit/4 {
		tb.Fatal("a table is over its bound")
	}
}
