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
	// leave over the new path while the old one drains, and ever fewer come
	// back over it. It halves, down to the least, with each round trip that
	// did not do: at 3,000 packets a second nothing less makes it stay.
	repeatInterval    = 2500 * time.Microsecond
	minRepeatInterval = repeatInterval / 8
	// minQuiet is some intervals of slow traffic: without a flip for so long,
	// or for two round trips, the old path has drained.
	minQuiet = 50 * time.Millisecond
	// removal is how long a redirect may outlive Redirects: a transaction of
	// nftables waits for all CPUs. Until then a packet may have come over
	// either path.
	removal = 100 * time.Millisecond
	// minLooks are needed to find out that the peer is not heard.
	minLooks = 4
	// nudgeInterval has a peer follow that begins later, to which nothing
	// flows, and spreads some over the time in which the other side wants to
	// hear this one.
	nudgeInterval = 250 * time.Millisecond
)

// drainTime is for the old path to drain, for which the other side has to have
// begun, too, which may be a round trip later.
func drainTime(rtt time.Duration) time.Duration {
	return min(max(time.Second, 4*rtt), 3*time.Second)
}

// confirmTime comes after that, whatever was done meanwhile: so both sides end,
// and can be heard, at about the same time.
func confirmTime(rtt time.Duration) time.Duration {
	return min(max(time.Second, 3*rtt), 3*time.Second)
}

type phase uint8

const (
	starting   phase = iota
	holding          // the old path's source is rewritten
	repeating        // the endpoint is set again and again
	confirming       // the peer has to be heard at To
	done
)

// Swap moves one peer once.
type Swap struct {
	config    Config
	phase     phase
	outcome   Outcome   // set: the next Advance ends the swap
	drained   time.Time // when the old path should have drained
	until     time.Time // when the peer should have been heard
	next      time.Time
	installed bool      // the redirect is
	flipped   bool      // a look since the last Advance found the endpoint at From
	flip      time.Time // the last such look, or began
	began     time.Time // repeating
	nudge     time.Time // when to nudge next
	confirm   confirm
}

// New returns a Swap that has not begun: redirects are installed before the
// actions of its first Advance are carried out.
func New(now time.Time, c Config) *Swap {
	if c.RTT <= 0 {
		c.RTT = defaultRTT
	}
	return &Swap{config: c, next: now}
}

// Redirects says whether From has to be rewritten to To. It changes only in
// Advance: the caller follows before it carries out the actions.
func (s *Swap) Redirects() bool {
	return s.config.CanRedirect && s.config.Loaded && s.phase <= holding
}

// Done says whether and how the swap ended. Nothing is left to do then.
func (s *Swap) Done() (Outcome, bool) { return s.outcome, s.phase == done }

// Next says when to look and then Advance again. More often does no harm.
func (s *Swap) Next() time.Time { return s.next }

// Looked takes what the device says of the peer: its endpoint and the bytes
// received.
func (s *Swap) Looked(now time.Time, endpoint netip.AddrPort, rxBytes int64) {
	switch {
	case s.phase == done || s.outcome != 0:
	case endpoint == s.config.From:
		s.flipped, s.flip, s.next = true, now, now
		s.confirm.flipped(now)
	case endpoint != s.config.To:
		s.outcome, s.next = Roamed, now
	case s.phase == confirming:
		s.confirm.looked(now, rxBytes)
	}
}

// Abandon goes back, because something else than silence says that To does not
// work. The next Advance carries it out.
func (s *Swap) Abandon(now time.Time) {
	if s.outcome == 0 {
		s.outcome, s.next = WentBack, now
	}
}

// Advance moves the swap on and returns what to do, in this order.
func (s *Swap) Advance(now time.Time) []Action {
	if s.phase == done {
		return nil
	}
	if s.outcome != 0 {
		return s.end(s.outcome)
	}
	flipped := s.flipped
	s.flipped = false
	var actions []Action
	switch s.phase {
	case starting:
		s.begin(now)
		actions = []Action{SetEndpoint{s.config.To}}
	case holding:
		actions = s.hold(now, flipped)
	case repeating:
		actions = s.repeat(now)
	default:
		actions = s.confirmed(now, flipped)
	}
	if s.phase != done && !now.Before(s.nudge) {
		s.nudge = now.Add(nudgeInterval)
		actions = append(actions, Nudge{})
	}
	return actions
}

// begin enters the phase that the load and the host call for.
func (s *Swap) begin(now time.Time) {
	s.lasts(now)
	switch {
	case !s.config.Loaded:
		s.startConfirming(now, now)
	case s.config.CanRedirect:
		s.phase, s.next = holding, now.Add(lookInterval)
	default:
		s.phase, s.next = repeating, now.Add(repeatInterval)
		s.flip, s.began = now, now
	}
}

func (s *Swap) hold(now time.Time, flipped bool) []Action {
	switch {
	case !s.installed:
		// Only now is the redirect there.
		s.installed = true
		s.lasts(now)
		s.next = now.Add(lookInterval)
	case now.Before(s.drained):
		s.next = earlier(s.drained, now.Add(lookInterval))
	default:
		s.startConfirming(now, now.Add(removal))
	}
	if flipped {
		return []Action{SetEndpoint{s.config.To}}
	}
	return nil
}

// lasts has the old path drain, and the peer confirm, from now on.
func (s *Swap) lasts(now time.Time) {
	s.drained = now.Add(drainTime(s.config.RTT))
	s.until = s.drained.Add(confirmTime(s.config.RTT))
}

// repeat comes to its end by time only where packets flow far faster than the
// endpoint can be set.
func (s *Swap) repeat(now time.Time) []Action {
	quiet := max(2*s.config.RTT, minQuiet)
	if !now.Before(s.drained) || now.Sub(s.flip) >= quiet {
		s.startConfirming(now, now)
	} else {
		interval := repeatInterval
		for t := now.Add(-quiet); t.After(s.began) && interval > minRepeatInterval; t = t.Add(-quiet) {
			interval /= 2
		}
		s.next = now.Add(interval)
	}
	return []Action{SetEndpoint{s.config.To}}
}

// startConfirming counts what is received from settled on.
func (s *Swap) startConfirming(now, settled time.Time) {
	s.phase, s.next = confirming, now.Add(lookInterval)
	s.nudge = now
	// Less than half the time is left only to a process that had to wait for
	// a CPU, or slept.
	if least := now.Add(confirmTime(s.config.RTT) / 2); s.until.Before(least) {
		s.until = least
	}
	s.confirm = confirm{settled: settled}
}

func (s *Swap) confirmed(now time.Time, flipped bool) []Action {
	switch {
	case flipped && !s.config.Loaded:
		// There is a load after all.
		s.config.Loaded = true
		s.begin(now)
	case flipped && s.config.CanRedirect:
		// The old path had its time to drain, so the peer still sends there:
		// nothing that left over the new one arrived.
		return s.end(WentBack)
	case !now.Before(s.until) && s.confirm.heard:
		return s.end(Stayed)
	case !now.Before(s.until) && s.confirm.looks >= minLooks:
		return s.end(WentBack)
	default:
		s.next = now.Add(lookInterval)
	}
	if flipped {
		return []Action{SetEndpoint{s.config.To}}
	}
	return nil
}

func (s *Swap) end(o Outcome) []Action {
	s.phase, s.outcome = done, o
	if o == WentBack {
		return []Action{SetEndpoint{s.config.From}}
	}
	return nil
}

// confirm finds out whether the peer was heard at To: more bytes between two
// looks that both found the endpoint there, with nothing set in between.
type confirm struct {
	settled  time.Time // from then on the endpoint tells the path
	looks    int       // since then
	counting bool
	received int64
	heard    bool
}

func (c *confirm) looked(now time.Time, rxBytes int64) {
	switch {
	case now.Before(c.settled):
		return
	case !c.counting:
		c.counting, c.received = true, rxBytes
	case rxBytes > c.received:
		c.heard = true
	}
	c.looks++
}

// flipped has the next look count anew.
func (c *confirm) flipped(now time.Time) {
	c.counting, c.heard = false, false
	if !now.Before(c.settled) {
		c.looks++
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
