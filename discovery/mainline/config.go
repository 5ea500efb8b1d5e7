package mainline

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// DefaultBootstrap is where a node that remembers none begins: public nodes that
// their operators offer for this.
var DefaultBootstrap = []string{
	"router.bittorrent.com:6881",
	"router.utorrent.com:6881",
	"dht.transmissionbt.com:6881",
	"dht.libtorrent.org:25401",
	"dht.aelitis.com:6881",
	"router.silotis.us:6881", // IPv6
	"dht.anacrolix.link:42069",
	"router.bittorrent.cloud:42069",
}

// MaxNodes is how many nodes Nodes returns at most.
const MaxNodes = 64

// Config is what a Source works with.
type Config struct {
	// IPv4 and IPv6 are one socket each, or nil where the host lacks the family.
	// They carry the datagrams that begin with 'd', and their LocalAddr has the port
	// that others see. Run closes them.
	IPv4, IPv6 net.PacketConn
	// Bootstrap are HOST:PORT of DHT nodes; nil means DefaultBootstrap, an empty
	// slice none.
	Bootstrap []string
	// KnownNodes is what Nodes returned in an earlier life.
	KnownNodes []netip.AddrPort
	// InfoHashes gives the hashes to be found under: one, or two around midnight. Nil
	// means none.
	InfoHashes func(now time.Time) [][20]byte
	// Found is called at once with each address that somebody announced under
	// InfoHashes, and again in later polls. It must not block. Calls do not overlap,
	// those to the Found of Lookups included.
	Found func(netip.AddrPort)
	// Announce gives hashes under which this host is announced, at the port that
	// others see, and that nobody else is looked for under. At most 128; nil means none.
	Announce func(now time.Time) [][20]byte
	// Forwarded returns the IPv4 port at which a gateway lets everyone in to this host:
	// it is announced under InfoHashes in place of the port that others see. Zero is
	// that there is none; nil means never. Kick announces a change.
	Forwarded func() uint16
	// Lookups are hashes that are asked for without announcing anything.
	Lookups []Lookup
	// Item is kept stored in the DHT (BEP 44); nil means none.
	Item *Item
	// Serve makes this host a node that answers others and keeps for them what they
	// announce and put. Public are the addresses, one a family, at which it is
	// reached: its node id follows from them (BEP 42). Where a family has none, the
	// socket's own address is taken if it is public, and any id otherwise.
	Serve  bool
	Public []netip.Addr
	// Seen is called with each node that answered and the address at which it sees
	// this host, and Located with one that several agree on; moved says that it was
	// another before. Nil if nobody wants to know. They must not block.
	Seen    func(by, addr netip.AddrPort)
	Located func(addr netip.AddrPort, moved bool)
	// LookupIP resolves a host, and logs where that fails; nil means
	// net.DefaultResolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	Log      *slog.Logger // nil means slog.Default()
}

// A Lookup asks for hashes without announcing anything.
type Lookup struct {
	// InfoHashes gives at most four hashes.
	InfoHashes func(now time.Time) [][20]byte
	// Active is looked at each half minute, and at once after Wake; while it returns false,
	// no datagram is sent for this lookup. Nil means always.
	Active func() bool
	// Found is as Config.Found.
	Found func(netip.AddrPort)
}
