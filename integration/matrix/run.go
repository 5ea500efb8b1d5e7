package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

const (
	// settleLimit is how long the first node may take to find its relay, measure its NAT and map a port.
	settleLimit = 30 * time.Second
	// streamRate is a voice call's, four times over.
	streamRate = 200
	// swapTail is how long the streams go on once both sides are direct: longer than a swap lasts.
	swapTail = 2500 * time.Millisecond
	// lookEvery is how exact times are; after lookHard, a tenth of that will do.
	lookEvery = 10 * time.Millisecond
	lookHard  = 3 * time.Second
)

// A try is what came of one meeting.
type try struct {
	Direct    bool
	Took      time.Duration // second up to direct
	First     string        // the path of the first ping that was answered
	FirstTook time.Duration
	Moved     bool // from the relay to the direct path, under the streams
	Sent      int
	Lost      []lab.Gap
	Reasons   []string // why it is not direct, as either side says
	Second    string   // the host that came second
	Fell      string   // what it fell back to after it had been direct

	logs []string // what both nodes said, the first one's first
}

// meeting is one try while it runs.
type meeting struct {
	first, second *member.Member
	began         time.Time
	streams       []*lab.Stream
	result        try
}

// try lets the pair meet once. turned: the second of the pair comes first.
func (w *world) try(ctx context.Context, p pair, by mode, turned bool, limit time.Duration) (result try, err error) {
	place := w.places[p.String()]
	defer place.hold()()
	if err := place.reset(ctx); err != nil {
		return result, err
	}
	n, err := w.network(ctx, by, p.deaf)
	if err != nil {
		return result, err
	}
	var nodes [2]*member.Member
	for i, kind := range []lab.Kind{p.a, p.b} {
		if nodes[i], err = n.member(place.hosts[i]); err != nil {
			return result, err
		}
		n.tell(nodes[i], kind, by)
	}
	if turned {
		nodes[0], nodes[1] = nodes[1], nodes[0]
	}
	m := &meeting{first: nodes[0], second: nodes[1]}
	m.result.Second = m.second.Host.Name
	defer func() {
		for _, node := range []*member.Member{m.second, m.first, n.hub} {
			if node == nil || node.Daemon() == nil {
				continue
			}
			if stopErr := stop(node); err == nil {
				err = stopErr
			}
		}
	}()
	if err := m.first.Start(); err != nil {
		return result, err
	}
	patience := settleLimit
	if theory(p).hopeless {
		patience = time.Second
	}
	if err := m.settle(ctx, by, patience); err != nil {
		return result, err
	}
	m.began = time.Now()
	if err := m.second.Start(); err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = m.follow(ctx)
	err = errors.Join(err, m.finish(err))
	for _, node := range nodes {
		m.result.logs = append(m.result.logs, node.Daemon().Output())
	}
	return m.result, err
}

func stop(m *member.Member) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return m.Stop(ctx, syscall.SIGINT)
}

// settle waits until the first node is as it would be after a day, as far as it gets.
func (m *meeting) settle(ctx context.Context, by mode, patience time.Duration) error {
	if _, err := m.first.WaitUp(ctx); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < patience; {
		s, err := m.first.Client().Status(ctx)
		if err != nil {
			return err
		}
		if settled(s, by) {
			break
		}
		if err := pause(ctx, began); err != nil {
			return err
		}
	}
	return nil
}

func settled(s localapi.Status, by mode) bool {
	known := false
	for _, f := range []localapi.NATFamily{s.Self.NAT.IPv4, s.Self.NAT.IPv6} {
		known = known || f.Mapping != "" && f.Mapping != "unknown"
	}
	switch by {
	case byRelay:
		known = known && len(s.Relays) > 0 && s.Relays[0].Home
	case byMember:
		known = known && len(s.Peers) > 0 && s.Peers[0].Path == "direct"
	case byDHT:
		known = known && s.Sources["dht"].State == "working"
	}
	return known
}

func pause(ctx context.Context, began time.Time) error {
	every := lookEvery
	if time.Since(began) > lookHard {
		every *= 10
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(every):
		return nil
	}
}

// follow watches until the pair is direct, or the context ends, and counts what the move loses.
func (m *meeting) follow(ctx context.Context) error {
	if _, err := m.second.WaitUp(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil && !m.result.Direct {
		paths, err := m.look(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		switch {
		case isDirect(paths[0]) && isDirect(paths[1]):
			// The one who came last pings: the way that a person would.
			m.ping(ctx, true)
		case m.result.First == "" && paths[1] == "relay":
			if m.ping(ctx, false) {
				if err := m.startStreams(ctx); err != nil {
					return err
				}
			}
		}
		_ = pause(ctx, m.began)
	}
	return nil
}

// finish lets the streams run on, and looks once more: a path that does not last is none.
func (m *meeting) finish(followed error) error {
	ctx, cancel := context.WithTimeout(context.Background(), swapTail+time.Minute)
	defer cancel()
	if m.result.Direct && len(m.streams) > 0 && followed == nil {
		m.result.Moved = true
		time.Sleep(swapTail)
	}
	for _, s := range m.streams {
		sent, gaps, err := s.Stop()
		if err != nil {
			return err
		}
		m.result.Sent += sent
		m.result.Lost = append(m.result.Lost, gaps...)
	}
	if followed != nil {
		return nil
	}
	paths, err := m.look(ctx)
	if err != nil {
		return err
	}
	if m.result.Direct && !(isDirect(paths[0]) && isDirect(paths[1])) {
		m.result.Fell = paths[0] + "/" + paths[1]
	}
	return nil
}

// look reads both sides' status.
func (m *meeting) look(ctx context.Context) (paths [2]string, err error) {
	m.result.Reasons = nil
	for i, side := range [][2]*member.Member{{m.first, m.second}, {m.second, m.first}} {
		s, err := side[0].Client().Status(ctx)
		if err != nil {
			return paths, err
		}
		reason := "does not know the other"
		for _, p := range s.Peers {
			if p.Name == side[1].Host.Name {
				paths[i], reason = p.Path, p.Path+": "+p.Reason
			}
		}
		if !isDirect(paths[i]) {
			m.result.Reasons = append(m.result.Reasons, side[0].Host.Name+": "+reason)
		}
	}
	return paths, nil
}

func isDirect(path string) bool { return path == "direct" || path == "lan" }

// ping sends one echo through the tunnel and takes down what came of it.
func (m *meeting) ping(ctx context.Context, direct bool) bool {
	// One that was lost is sent again, as "credant ping" would not: it waits longer.
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	reply, err := m.second.Client().Ping(ctx, m.first.Host.Name)
	if err != nil || !reply.OK {
		return false
	}
	took := time.Since(m.began)
	if m.result.First == "" {
		m.result.First, m.result.FirstTook = reply.Path, took
	}
	if direct && isDirect(reply.Path) {
		m.result.Direct, m.result.Took = true, took
	}
	return !isDirect(reply.Path)
}

func (m *meeting) startStreams(ctx context.Context) error {
	var addresses [2]netip.Addr
	nodes := [2]*member.Member{m.first, m.second}
	for i, node := range nodes {
		s, err := node.Client().Status(ctx)
		if err != nil {
			return err
		}
		if addresses[i], err = netip.ParseAddr(s.Self.Addresses[0]); err != nil {
			return fmt.Errorf("read the address of %s: %w", node.Host.Name, err)
		}
	}
	for i, j := range []int{1, 0} {
		s, err := lab.StartStream(nodes[i].Host.Node, addresses[i], nodes[j].Host.Node, addresses[j], streamRate)
		if err != nil {
			return err
		}
		m.streams = append(m.streams, s)
	}
	return nil
}

// String is for those who want to know why.
func (t try) String() string {
	var b strings.Builder
	switch {
	case t.Direct:
		fmt.Fprintf(&b, "direct after %v", t.Took.Round(time.Millisecond))
	default:
		b.WriteString("not direct")
	}
	fmt.Fprintf(&b, " (%s second", t.Second)
	if t.First != "" {
		fmt.Fprintf(&b, "; first ping by %s after %v", t.First, t.FirstTook.Round(time.Millisecond))
	}
	if len(t.Lost) > 0 {
		fmt.Fprintf(&b, "; %d of %d lost: %v", lab.Lost(t.Lost), t.Sent, t.Lost)
	}
	if t.Fell != "" {
		b.WriteString("; fell back to " + t.Fell)
	}
	b.WriteString(")")
	if !t.Direct || t.Fell != "" {
		b.WriteString("\n      " + strings.Join(t.Reasons, "\n      "))
	}
	return b.String()
}
