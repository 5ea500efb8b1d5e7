package lan

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	idleEvery = time.Minute
	// minGap is between two bursts' first beacons: network changes come in swarms.
	minGap = 250 * time.Millisecond

	// answerGap is between two answers to one member. It is less than between two
	// beacons of a burst: an answer may have been lost, or been for the process
	// before.
	answerGap    = 200 * time.Millisecond
	answersEvery = 200 * time.Millisecond // over all members, on average
	answersBurst = 10

	yieldGap   = 200 * time.Millisecond // between two yields of one address
	yieldEvery = 50 * time.Millisecond  // over all addresses, on average
	yieldBurst = 40

	maxSent    = 64
	maxMembers = 256
	maxYielded = 256
)

// burst is when beacons follow a start or Kick.
var burst = []time.Duration{0, 250 * time.Millisecond, time.Second}

// scope says in which families a beacon goes out.
type scope uint8

const (
	onIPv4 scope = 1 << iota
	onIPv6
)

// A send is one beacon to send.
type send struct {
	scope     scope
	iface     int // 0: all
	tx        uint64
	wantReply bool
}

// A heard beacon, after its seal and source were checked.
type heard struct {
	wire.Beacon
	iface int
	from  netip.Addr
}

// presence is the state machine of one node: when to send a beacon, whom to answer,
// and which addresses to yield.
type presence struct {
	self     keys.NodePublic
	sends    []time.Time // what is left of a burst
	idleAt   time.Time
	idle6    bool // whose turn it is
	lastSent time.Time

	sent     map[uint64]time.Time // transaction ids of own beacons
	answered map[keys.NodePublic]time.Time
	yielded  map[netip.AddrPort]time.Time
	answers  *rate.Limiter
	yields   *rate.Limiter
}

func newPresence(now time.Time, self keys.NodePublic) *presence {
	p := &presence{
		self:     self,
		sent:     make(map[uint64]time.Time),
		answered: make(map[keys.NodePublic]time.Time),
		yielded:  make(map[netip.AddrPort]time.Time),
		answers:  rate.NewLimiter(rate.Every(answersEvery), answersBurst),
		yields:   rate.NewLimiter(rate.Every(yieldEvery), yieldBurst),
	}
	p.Kick(now)
	return p
}

// Kick begins a burst anew.
func (p *presence) Kick(now time.Time) {
	first := now
	if earliest := p.lastSent.Add(minGap); first.Before(earliest) {
		first = earliest
	}
	p.sends = p.sends[:0]
	for _, d := range burst {
		p.sends = append(p.sends, first.Add(d))
	}
	p.idleAt = p.sends[len(p.sends)-1].Add(idleEvery)
}

// Next returns when Advance has something to do.
func (p *presence) Next() time.Time {
	if len(p.sends) > 0 {
		return p.sends[0]
	}
	return p.idleAt
}

// Advance returns the beacons that are due.
func (p *presence) Advance(now time.Time) []send {
	if now.Before(p.Next()) {
		return nil
	}
	p.lastSent = now
	tx := rand.Uint64()
	remember(p.sent, tx, now, maxSent)
	if len(p.sends) > 0 {
		// After a suspension several are due: one does for all of them.
		for len(p.sends) > 0 && !now.Before(p.sends[0]) {
			p.sends = p.sends[1:]
		}
		return []send{{scope: onIPv4 | onIPv6, tx: tx, wantReply: true}}
	}
	p.idleAt = now.Add(idleEvery)
	s := send{scope: onIPv4, tx: tx}
	if p.idle6 {
		s.scope = onIPv6
	}
	p.idle6 = !p.idle6
	return []send{s}
}

// Reasons for which a beacon is dropped, besides those of package wire.
const (
	dropRate    = "rate-limited"
	dropOffLink = "off-link"
	dropBusy    = "busy"
	dropRefused = "refused" // of a node that is shut out
)

// Heard takes in a beacon. It returns the address to yield, if it is valid, the
// answer to send, if any, and why the beacon was for nothing.
func (p *presence) Heard(now time.Time, h heard) (found netip.AddrPort, answer []send, reason string) {
	if _, own := p.sent[h.Tx]; own && h.Node == p.self {
		return found, nil, "" // multicast comes back to its sender
	}
	// One of this node's keys that it has not sent is a twin's, such as a copied
	// machine's: a hello will find that out, and there is nothing to answer.
	if h.WantReply && h.Node != p.self && now.Sub(p.answered[h.Node]) >= answerGap && p.answers.AllowN(now, 1) {
		remember(p.answered, h.Node, now, maxMembers)
		remember(p.sent, h.Tx, now, maxSent)
		// In both families, since which of its two beacons came first is chance.
		answer = []send{{scope: onIPv4 | onIPv6, iface: h.iface, tx: h.Tx}}
	}
	addr := netip.AddrPortFrom(h.from, h.Port)
	if now.Sub(p.yielded[addr]) < yieldGap || !p.yields.AllowN(now, 1) {
		return found, answer, dropRate
	}
	remember(p.yielded, addr, now, maxYielded)
	return addr, answer, ""
}

// remember sets m[key], and forgets the oldest entry where m is full.
func remember[K comparable](m map[K]time.Time, key K, now time.Time, limit int) {
	if _, ok := m[key]; !ok && len(m) >= limit {
		oldest, at := key, now
		for k, t := range m {
			if !t.After(at) {
				oldest, at = k, t
			}
		}
		delete(m, oldest)
	}
	m[key] = now
}
