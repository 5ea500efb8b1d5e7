package natpunch

import (
	"net/netip"
	"time"
)

// What peers and servers can make this node spend. A member may announce any
// addresses and ping at any rate; none of it may turn this node against a third
// party or against its own router.
const (
	// MaxPeers bounds the agent's tables.
	MaxPeers = 4096
	// maxCandidates a peer are checked of those it announced (a record holds no
	// more), maxReflexive more may be learned from where its pings come from.
	maxCandidates = 16
	maxReflexive  = 4
	// maxRelayed addresses a peer are kept; two relays with two families make
	// four.
	maxRelayed = 4
	// maxAvoided bounds the paths that are remembered as not carrying traffic.
	maxAvoided = 8
	// maxBases of a family are paired with remote candidates, all together in no
	// more than maxCandidates pairs.
	maxBases = 3
	// maxSite bounds the private candidates that are checked because the peer
	// seems to be behind our own NAT, on another link.
	maxSite = 4

	// pace is the time between two pings to one peer. RFC 8445's 50 ms is for
	// sessions whose bandwidth nobody knows; 20 ms are 50 kbit/s.
	pace = 20 * time.Millisecond

	// A peer costs at most two full rounds in a row, then 4 pings a second.
	peerBurst = 2 * 3 * (maxCandidates + maxReflexive)
	peerRate  = 4
	// reserve is what rounds leave of it to the pings on which a path depends.
	reserve = 8
	// A peer may call for as many rounds as it makes itself at first, then for
	// one in ten seconds.
	callBurst, callRate = 5, 0.1
	// All peers together cost 300 pings a second, which home routers bear.
	totalBurst = 100
	totalRate  = 300

	// A peer may ping as often as a sane one would, all of them together as
	// often as costs a few per cent of a core.
	pongBurst, pongRate           = 100, 50
	totalPongBurst, totalPongRate = 1000, 1000

	// An attempt to punch through a dependent mapping: sprayPorts mappings at the
	// dependent side's router, sprayPings sessions at the other's, sprayBatch
	// datagrams every sprayTick, which are 294 a second, from the budget of all
	// peers. With these a random port meets another in 98 of 100 attempts.
	sprayPorts, sprayPings = 256, 1024
	sprayBatch             = 5
	sprayTick              = 17 * time.Millisecond
	// sprayReserve is what a spray leaves of the budget to other checks.
	sprayReserve = 20
	// One peer, and one address whoever announced it, has so many sprays at once,
	// then one in five minutes. An attempt may take three.
	targetBurst, targetRate = 9, 1.0 / 300
	// maxSprayTargets bounds the table of the addresses, maxReached that of the
	// destinations of checks.
	maxSprayTargets, maxReached = 256, 4096

	// maxQueue bounds the actions that wait for Advance.
	maxQueue = 2048
)

// sprayPauses lie between the attempts at one peer, of which the last one failed.
var sprayPauses = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour}

// sprayBudget is that of all peers together.
type sprayBudget struct {
	busy    *checkList // punches now; nil: nobody
	targets map[netip.Addr]*bucket

	// reached are the destinations of checks, and fresh is how many of them came
	// after the last survey.
	reached map[netip.AddrPort]struct{}
	fresh   int
}

// bucket is a token bucket. It is full at first.
type bucket struct {
	burst, rate float64
	tokens      float64
	at          time.Time
}

func newBucket(burst, rate float64) bucket {
	return bucket{burst: burst, rate: rate, tokens: burst}
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	b.fill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) fill(now time.Time) {
	if !b.at.IsZero() && now.After(b.at) {
		b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	if b.at.IsZero() || now.After(b.at) {
		b.at = now
	}
}

// ready is when the next token is there: not after the last call's now if there
// is one already.
func (b *bucket) ready() time.Time { return b.holds(1) }

// holds is when n tokens are there, likewise.
func (b *bucket) holds(n float64) time.Time {
	if b.tokens >= n {
		return b.at
	}
	// A microsecond more, so that rounding cannot make the owner wake too early
	// and find nothing, again and again.
	wait := time.Duration((n-b.tokens)/b.rate*float64(time.Second)) + time.Microsecond
	return b.at.Add(wait)
}
