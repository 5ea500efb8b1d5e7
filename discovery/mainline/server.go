package mainline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	alog "github.com/anacrolix/log"
	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/time/rate"
)

// sendsPerSecond bounds what one server sends. The library's own limit is 25/s for
// the whole process, which would make a search last seconds.
const sendsPerSecond = 100

// A server asks single queries through the library, behind the guard. Nothing of
// the library that looks after a routing table runs, and no query reaches it: where
// this node serves, a responder answers.
type server struct {
	guard *guard
	dht   *dht.Server
	port  int
}

// newServer takes g over, also where it fails.
func newServer(g *guard, id nodeID, log *slog.Logger) (*server, error) {
	s, err := dht.NewServer(serverConfig(g, id, log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start DHT server on %v: %w", g.LocalAddr(), err), g.Close())
	}
	local, _ := addrPortOf(g.LocalAddr())
	return &server{guard: g, dht: s, port: int(local.Port())}, nil
}

func serverConfig(g *guard, id nodeID, log *slog.Logger) *dht.ServerConfig {
	return &dht.ServerConfig{
		Conn:        g,
		NodeId:      krpc.ID(id),
		Passive:     g.serving == nil, // BEP 43
		NoSecurity:  true,             // most nodes have no BEP 42 id
		SendLimiter: rate.NewLimiter(sendsPerSecond, sendsPerSecond),
		Logger:      libraryLogger(log),
		// No PeerStore: the library's loses members behind one address, and a node that
		// answers nobody needs none.
	}
}

// Close stops the server, then the socket, and returns once nothing reads it: the
// library panics where the socket goes first.
func (s *server) Close() {
	s.dht.Close()
	_ = s.guard.Close()
}

// getPeers asks the node who announced the query's hash. With both set it also asks
// for nodes of the other family (BEP 32).
func (s *server) getPeers(ctx context.Context, q query, both bool) (answer, []node, error) {
	return s.question(ctx, q, "get_peers", krpc.MsgArgs{InfoHash: krpc.ID(q.hash)}, both)
}

// findNode asks for the nodes closest to the query's hash.
func (s *server) findNode(ctx context.Context, q query, both bool) (answer, []node, error) {
	return s.question(ctx, q, "find_node", krpc.MsgArgs{Target: krpc.ID(q.hash)}, both)
}

// get asks for the item whose target is the query's hash.
func (s *server) get(ctx context.Context, q query, both bool) (answer, []node, error) {
	return s.question(ctx, q, "get", krpc.MsgArgs{Target: krpc.ID(q.hash)}, both)
}

// ping asks the node whether it lives.
func (s *server) ping(ctx context.Context, to netip.AddrPort) (answer, []node, error) {
	return s.question(ctx, query{to: to}, "ping", krpc.MsgArgs{}, false)
}

func (s *server) question(ctx context.Context, q query, method string, args krpc.MsgArgs, both bool) (answer, []node, error) {
	if both {
		args.Want = []krpc.Want{krpc.WantNodes, krpc.WantNodes6}
	}
	reply, err := s.ask(ctx, q.to, method, args)
	if err != nil {
		return answer{}, nil, err
	}
	r := reply.R
	a := answer{id: nodeID(r.ID)}
	if seen := reply.IP.ToNodeAddrPort().AddrPort; seen.IsValid() {
		a.seen = netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port())
	}
	if r.Token != nil {
		a.token = *r.Token
	}
	if r.Seq != nil && len(r.V) > 0 && len(r.V) <= maxItemEncoded {
		a.item = &item{key: r.K, sig: r.Sig, seq: *r.Seq, v: r.V}
	}
	own, other := nodesOf(r.Nodes), nodesOf(r.Nodes6)
	if q.to.Addr().Is6() {
		own, other = other, own
	}
	a.nodes = own
	for _, v := range r.Values {
		if addr := v.ToNodeAddrPort().AddrPort; addr.IsValid() && addr.Port() != 0 {
			a.values = append(a.values, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
		}
	}
	return a, other, nil
}

// announcePeer announces this host, at the port given or else the one that the node
// sees.
func (s *server) announcePeer(ctx context.Context, q query, port int) error {
	implied := port == 0
	if implied {
		port = s.port // BEP 5: ignored where implied_port is understood
	}
	_, err := s.ask(ctx, q.to, "announce_peer", krpc.MsgArgs{
		InfoHash:    krpc.ID(q.hash),
		Port:        &port,
		ImpliedPort: implied,
		Token:       q.token,
	})
	return err
}

// put puts what p has now.
func (s *server) put(ctx context.Context, q query, p *publisher) error {
	i, ok := p.current(time.Now())
	if !ok {
		return errors.New("put item: nothing to put")
	}
	_, err := s.ask(ctx, q.to, "put", krpc.MsgArgs{
		Token: q.token,
		V:     bencode.Bytes(i.v),
		K:     i.key,
		Salt:  []byte(p.item.Salt),
		Seq:   &i.seq,
		Sig:   i.sig,
	})
	return err
}

func (s *server) ask(ctx context.Context, to netip.AddrPort, method string, args krpc.MsgArgs) (*krpc.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	res := s.dht.Query(ctx, dht.NewAddr(net.UDPAddrFromAddrPort(to)), method, dht.QueryInput{MsgArgs: args})
	switch {
	case res.Err != nil:
		return nil, res.Err
	case res.Reply.Y != krpc.YResponse || res.Reply.R == nil:
		return nil, fmt.Errorf("ask %v %s: answered with an error", to, method)
	}
	return &res.Reply, nil
}

func nodesOf(infos []krpc.NodeInfo) []node {
	nodes := make([]node, 0, len(infos))
	for _, n := range infos {
		nodes = append(nodes, node{nodeID(n.ID), n.Addr.ToNodeAddrPort().AddrPort})
	}
	return nodes
}

// libraryLogger silences the library, which logs each datagram; its GO_LOG variable
// brings the lines back, at our debug level.
func libraryLogger(log *slog.Logger) alog.Logger {
	l := alog.Default.WithFilterLevel(alog.Disabled)
	l.SetHandlers(slogHandler{log})
	return l
}

type slogHandler struct{ log *slog.Logger }

// Handle implements log.Handler of the library.
func (h slogHandler) Handle(r alog.Record) { h.log.Debug("dht library", "text", r.Text()) }
