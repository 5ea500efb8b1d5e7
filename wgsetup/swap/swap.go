package swap

import (
	"net/netip"
	"time"
)

// Config says what to move.
type Config struct {
	From, To netip.AddrPort // IPv4 unmapped, as the device tells endpoints
	RTT      time.Duration  // the larger one of both paths'; zero: 100 ms
	// CanRedirect says whether the host can rewrite From to To.
	CanRedirect bool
	// Loaded says that packets flow, in either direction. Where it is wrong
	// the Swap finds out.
	Loaded bool
}

// Action is what the caller has to do: SetEndpoint or Nudge.
type Action interface{ action() }

// SetEndpoint moves the peer to Addr.
type SetEndpoint struct{ Addr netip.AddrPort }

// Nudge has WireGuard send the peer a keepalive.
type Nudge struct{}

func (SetEndpoint) action() {}
func (Nudge) action()       {}

// Outcome is how a Swap ended.
type Outcome uint8

// The outcomes. The zero Outcome is none yet.
const (
	Stayed   Outcome = iota + 1 // the peer was heard at To
	WentBack                    // it was not, and the endpoint is From again
	Roamed                      // the peer itself went somewhere else
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Stayed:
		return "stayed"
	case WentBack:
		return "went back"
	case Roamed:
		return "roamed elsewhere"
	default:
		return "under way"
	}
}

const (
	defaultRTT = 100 * time.Millisecond
	// lookInterval is how often a look is worth its price.
	lookInterval = 20 * time.Millisecond
	// repeatInterval is half the distance of packets at 200 a second: most
	// of them leave over the new path while the old one drains, and ever
	// fewer come back over it.
	repeatInterval = 2500 * time.Microsecond
	// removal is how long a redirect may outlive Redirects: a transaction of
	// nftables waits for all CPUs. Until then a packet may have come over
	// either path.
	removal = 100 * time.Millisecond
)

type phase uint8

const (
	starting phase = iota
	holding        // the old path's source is rewritten
	repeating      // the endpoint is set again and again
	confirming     // the peer has to be heard at To
	done
)

// Swap moves one peer once.
type Swap struct {
	config  Config
	phase   phase
	outcome Outcome
	until   time.Time // the end of the phase
	next    time.Time

	flipped  bool      // a look found the endpoint at From
	flip     time.Time // when a look last did, or the phase began
	roamed   bool      // a look found it somewhere else
	give     bool      // Abandon
	wake     bool      // a look found something to act on
	nudge    time.Time // when to nudge next
	settled  time.Time // from then on a packet received tells its path
	counting bool      // received is valid
	received int64     // rx bytes at the first look that counts
	heard    bool      // the peer was heard at To
}

// New returns a Swap that has not begun: redirects are installed before the
// actions of its first Advance are carried out.
func New(now time.Time, c Config) *Swap {
	if c.RTT <= 0 {
		c.RTT = defaultRTT
	}
	return &Swap{config: c, next: now}
}

// Redirects says whether From has to be rewritten to To now. It changes only
// in Advance: the caller follows before it carries out the actions.
func (s *Swap) Redirects() bool { return s.phase == holding }

// Done says whether and how the swap ended. Nothing is left to do then.
func (s *Swap) Done() (Outcome, bool) { return s.outcome, s.phase == done }

// Next says when the caller has to look and then Advance again. It may look
// more often.
func (s *Swap) Next() time.Time { return s.next }

// Advance moves the swap on and returns what to do, in this order.
func (s *Swap) Advance(now time.Time) []Action {
	return nil
}

// Looked takes what the device says of the peer: its endpoint and the bytes
// received.
func (s *Swap) Looked(now time.Time, endpoint netip.AddrPort, rxBytes int64) {
}

// Abandon ends the swap and goes back: what is known elsewhere says that To
// does not work. Advance carries it out.
func (s *Swap) Abandon(now time.Time) {}
