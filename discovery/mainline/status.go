package mainline

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/credant/credant/discovery"
)

// noneKnown is the detail where there is nobody to ask yet.
const noneKnown = "no nodes known"

// A snapshot is what others may know of a family.
type snapshot struct {
	state   discovery.State
	detail  string
	problem string    // while failing
	retryAt time.Time // then

	live    int
	found   int
	foundAt time.Time
	nodes   []netip.AddrPort
}

func (s snapshot) status(now time.Time) discovery.SourceStatus {
	st := discovery.SourceStatus{State: s.state, Detail: s.detail}
	if s.state == discovery.StateFailing {
		wait := max(s.retryAt.Sub(now), 0)
		st.LastError = fmt.Sprintf("%s; trying again in %d s", s.problem, (wait+time.Second-1)/time.Second)
	}
	return st
}

// publish takes a new snapshot for others.
func (f *family) publish(now time.Time) {
	s := snapshot{found: len(f.found), foundAt: f.foundAt, state: discovery.StateStarting, detail: "starting"}
	var lists [][]netip.AddrPort
	for l := range f.lookups {
		lists = append(lists, l.closestLive())
	}
	if len(lists) > 0 {
		f.describe(now, &s)
	}
	best := interleave(MaxNodes, lists...)
	recent := append(f.table.recent(), f.known...)
	s.nodes = interleave(MaxNodes, append(best, recent...))
	f.last.set(s)
}

// describe says what the lookups are doing. With two of what comes first, around
// midnight, the better one speaks.
func (f *family) describe(now time.Time, s *snapshot) {
	var best *lookup
	for l := range f.lookups {
		if best == nil || best.purpose == l.purpose && best.Silent() && !l.Silent() {
			best = l
		}
	}
	s.live = best.Live()
	busy, err := f.source.resolver.state()
	switch {
	case !best.Silent() && best.purpose.announces() && !best.Announced():
		s.state, s.detail = discovery.StateWorking, "announcing"
	case !best.Silent():
		s.state, s.detail = discovery.StateWorking, best.describe(now)
	case best.silence > 0:
		s.state, s.detail = discovery.StateFailing, "no nodes answer"
		s.problem = "no DHT node answers: " + f.whyNot()
	case len(best.contacts) > 0:
		s.detail = "asking bootstrap nodes"
	case busy:
		s.detail = "resolving bootstrap nodes"
	case err != nil:
		s.state, s.detail = discovery.StateFailing, noneKnown
		s.problem = fmt.Sprintf("no DHT node is known: %v: is there DNS? --dht-bootstrap takes addresses", err)
	default:
		s.state, s.detail = discovery.StateWaiting, noneKnown
	}
	s.retryAt = best.searchAt()
}

func (f *family) whyNot() string {
	if err := f.guard.writeErr.get(); errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) {
		return "no route to the internet over " + f.name()
	} else if errors.Is(err, syscall.EPERM) {
		return "the host's firewall refuses UDP"
	}
	return "UDP blocked or no internet"
}

// describe says at which pace it polls.
func (l *lookup) describe(now time.Time) string {
	n := l.Live()
	switch {
	case l.settled(now):
		return fmt.Sprintf("settled: asking one of %d nodes each %d s", n, l.slot/time.Second)
	case l.pace == fastEvery:
		return fmt.Sprintf("polling %d nodes, half of them each second", n)
	}
	return fmt.Sprintf("polling %d nodes each %d s", n, l.pace/time.Second)
}

func (l *lookup) closestLive() []netip.AddrPort {
	var near []netip.AddrPort
	for _, c := range l.contacts {
		if c.live() && len(near) < closestK {
			near = append(near, c.addr)
		}
	}
	return near
}
