package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Ten thousand bound allocations of twenty thousand nodes, half of which have
// left a full blob. The budget of the whole process is 100 MB; the engine may
// take half.
func TestMemoryOfTenThousandAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 key agreements take seconds")
	}
	const pairs = 10000
	before := heapBytes()
	s := New(Config{
		Identity: wire.GenerateServer(),
		Locals:   []netip.Addr{front4.Addr(), front6.Addr()},
		Stranger: Quota{
			Network: Share{Requests: 1e6, Allocations: 100},
			Source:  Share{Requests: 1e6, Allocations: 100},
		},
	})
	now := time.Unix(1e6, 0)
	flows := make(map[FlowKey]Flow)
	drain := func() {
		for _, out := range s.Advance(now) {
			if in, ok := out.(Install); ok {
				flows[in.FlowKey] = in.Flow
			}
		}
	}
	for i := range pairs {
		network := keys.NetworkID(sha256.Sum256(binary.BigEndian.AppendUint32([]byte("network"), uint32(i/50))))
		var sides [2]*call
		for k := range sides {
			sides[k] = provenCall(t, s, now, network, uint32(2*i+k))
		}
		for k, c := range sides {
			c.Allocate = &wire.Allocate{Peers: []keys.NodePublic{sides[1-k].node.key}}
			s.allocate(c)
		}
		port := s.board.pairs[pairOf(sides[0].node, sides[1].node)].port
		for k, c := range sides {
			c.at = netip.AddrPortFrom(c.at.Addr(), port)
			c.Bind = &wire.Bind{Peer: sides[1-k].node.key}
			s.bind(c)
		}
		if i%100 == 0 {
			now = now.Add(400 * time.Millisecond)
			drain()
		}
	}
	drain()
	if st := s.Stats(); st.Bound != pairs || st.Registrations != pairs || len(flows) != 2*pairs {
		t.Fatalf("%+v, %d flows", st, len(flows))
	}
	now = now.Add(time.Second)
	drain()
	grown := float64(heapBytes()-before) / 1e6
	runtime.KeepAlive(s)
	runtime.KeepAlive(flows)
	t.Logf("%.1f MB of heap, %s", grown, residentSet())
	if grown > 50 {
		t.Errorf("%.1f MB of heap", grown)
	}
}

// provenCall is a request of a node that has just proved itself, and has
// registered if its number is even.
func provenCall(t *testing.T, s *Server, now time.Time, network keys.NetworkID, i uint32) *call {
	t.Helper()
	// Any 32 bytes are somebody's public key (RFC 7748, Section 5).
	session, err := s.exchange.Session(sha256.Sum256(binary.BigEndian.AppendUint32([]byte("client"), i)))
	if err != nil {
		t.Fatal(err)
	}
	from := addr4(i/4, byte(i))
	at := front4
	if i%4 == 3 {
		b := netip.MustParseAddr("2001:db8::1").As16()
		binary.BigEndian.PutUint16(b[4:], uint16(i/8))
		from, at = netip.AddrPortFrom(netip.AddrFrom16(b), uint16(i%8+1000)), front6
	}
	c := &call{now: s.clock.tick(now), at: at, from: from, keys: session, issued: s.clock.last}
	c.Number = 1
	key := keys.NodePublic(sha256.Sum256(binary.BigEndian.AppendUint32([]byte("node"), i)))
	c.src = s.source(c.now, from.Addr())
	c.node = s.node(c.now, network, stranger, key)
	s.establish(c.now, c.node, session)
	s.heard(c)
	if i%2 == 0 {
		blob := make([]byte, wire.MaxBlob)
		copy(blob, key[:])
		c.Register = &wire.Register{Blob: blob}
		s.register(c)
	}
	return c
}

func residentSet() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "resident set unknown"
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS:") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "resident set unknown"
}
