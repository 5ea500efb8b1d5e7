package discovery

import (
	"net/netip"
	"time"
)

// How one address is asked. Behind two NATs the hellos are the punch: each
// side's opens its own NAT for the other's, so an address that keeps being
// named is asked about each second while both sides may have just started, and
// then ever more rarely.
const (
	repeatInterval    = time.Second
	fastPhase         = 2 * time.Minute
	maxRepeatInterval = time.Minute
	// echoInterval is for an address from which my own hello came back: mine,
	// most likely, but anyone on the way can reflect a datagram.
	echoInterval = 10 * time.Minute
	// burstPause is the silence after which a hint starts a whole series again.
	burstPause = 5 * time.Second
	// targetLifetime is how long an address is kept that nobody names any more.
	targetLifetime = 5 * time.Minute
	// answerLifetime is how long a hello can be answered.
	answerLifetime = 10 * time.Second
)

var (
	// helloGaps makes hellos go out 0, 250 ms, 500 ms, 1 s, 2 s and 4 s after a hint.
	helloGaps = []time.Duration{250 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}
	// dhtGaps is a hello less: the DHT's budget is shared with what is dead.
	dhtGaps = []time.Duration{250 * time.Millisecond, 750 * time.Millisecond, time.Second, 2 * time.Second}
	// confirmGaps are added to the round trip time.
	confirmGaps = []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond}
)

// target is an address where a member may answer, and how far the exchange
// with it has come.
type target struct {
	addr   netip.AddrPort
	source Source

	first, hinted, last time.Time
	hints               int
	sends               int  // never answered
	slow                int  // of these, after the fast phase
	burst               int  // since the exchange was last taken up
	echoed              bool // my own hello came back

	// due is when the next datagram is to go out. Zero: not until hinted again.
	due time.Time

	// tx is the transaction id. Its last byte is the number of the hello, so
	// that an answer tells which hello it answers: without it a round trip that
	// was retransmitted could not be measured (Karn's algorithm).
	tx     [16]byte
	sentAt [8]time.Time

	// confirm is set from the reply to the ready.
	confirm *confirmation
}

// confirmation is what the initiator holds between reply and ready.
type confirmation struct {
	met      Met
	txA, txB [16]byte
	tries    int
}

// txPrefix is the part of a transaction id that all hellos of an exchange share.
type txPrefix [15]byte

func (t *target) gaps() []time.Duration {
	if t.source == SourceDHT {
		return dhtGaps
	}
	return helloGaps
}

// fast says that the address may be one of a member who is just starting.
// Behind a beacon there always is one: it is not a memory, its sender was there
// a moment ago.
func (t *target) fast(now time.Time) bool {
	return t.source == SourceLAN || now.Sub(t.first) < fastPhase
}

// repeat is the pause before an address that was hinted again is asked again.
func (t *target) repeat(now time.Time) time.Duration {
	if t.echoed {
		return echoInterval
	}
	if t.fast(now) {
		return repeatInterval
	}
	return min(repeatInterval<<min(t.slow+1, 6), maxRepeatInterval)
}

// hint notes that the address was named once more.
func (t *target) hint(now time.Time) {
	t.hinted = now
	t.hints++
	if t.confirm != nil {
		return
	}
	next := now
	if t.sends > 0 {
		next = latest(now, t.last.Add(t.repeat(now)))
	}
	if t.due.IsZero() && t.source != SourceDHT && t.fast(now) && now.Sub(t.last) >= burstPause {
		t.burst = 0
	}
	if t.due.IsZero() || next.Before(t.due) {
		t.due = next
	}
}

// sent notes that a hello went out, and plans the next.
func (t *target) sent(now time.Time) {
	t.sentAt[int(t.tx[15])%len(t.sentAt)] = now
	t.last = now
	t.sends++
	if !t.fast(now) {
		t.slow++
	}
	t.due = time.Time{}
	if gaps := t.gaps(); t.burst < len(gaps) && !t.echoed {
		t.due = now.Add(gaps[t.burst])
	}
	t.burst++
}

// restart gives up an exchange that was answered and did not end. The address
// is as good as a new one when it is named again.
func (t *target) restart(now time.Time) {
	t.confirm, t.due = nil, time.Time{}
	t.first, t.sends, t.slow, t.burst = now, 0, 0, 0
}

// echo notes that my own hello came back. A genuine answer is still taken.
func (t *target) echo() {
	if t.confirm != nil {
		return
	}
	t.echoed = true
	t.due = time.Time{}
}

// rtt finds the hello that an answer answers. It reports false if that was too
// long ago, or never sent.
func (t *target) rtt(now time.Time, txA [16]byte) (time.Duration, bool) {
	at := t.sentAt[int(txA[15])%len(t.sentAt)]
	if behind := t.tx[15] - txA[15]; int(behind) >= len(t.sentAt) || at.IsZero() {
		return 0, false
	}
	d := now.Sub(at)
	return d, d >= 0 && d <= answerLifetime
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
