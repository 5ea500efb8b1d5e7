package control

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// fakePorts are extra ports 9000 and on that arrive at one's own inbox.
type fakePorts struct {
	n      int
	sent   []int
	kept   []int
	ended  chan struct{}
	ending sync.Once
	heard  func(i int, from netip.AddrPort, b []byte)
	ready  chan struct{}
}

func (p *fakePorts) Len() int          { return p.n }
func (p *fakePorts) Port(i int) uint16 { return uint16(9000 + i) }
func (p *fakePorts) Send(i int, _ []byte, _ netip.AddrPort) error {
	p.sent = append(p.sent, i)
	return nil
}

func (p *fakePorts) Run(ctx context.Context, receive func(int, netip.AddrPort, []byte)) error {
	p.heard = receive
	close(p.ready)
	select {
	case <-ctx.Done():
	case <-p.ended:
	}
	return nil
}

func (p *fakePorts) Keep(i int) error {
	p.kept = append(p.kept, i)
	return nil
}

func (p *fakePorts) Close() error {
	p.ending.Do(func() { close(p.ended) })
	return nil
}

func TestPuncher(t *testing.T) {
	node, remote := keys.GenerateNode().Public(), netip.MustParseAddrPort("5.0.1.1:20001")
	var opened []*fakePorts
	var kept []wgsetup.Kept
	var refuse error
	var warned int
	inbox := make(chan extraPort, 1)
	p := puncher{
		open: func(n int) (extraPorts, error) {
			if refuse != nil {
				return nil, refuse
			}
			f := &fakePorts{n: n, ended: make(chan struct{}), ready: make(chan struct{})}
			opened = append(opened, f)
			return f, nil
		},
		setKept: func(all []wgsetup.Kept) error {
			if refuse == nil {
				kept = all
			}
			return refuse
		},
		received: func(at extraPort, _ netip.AddrPort, _ []byte) { inbox <- at },
		warn: func(_ string, err error) {
			if err != nil {
				warned++
			}
		},
	}
	agent := natpunch.NewAgent(natpunch.AgentConfig{Self: keys.GenerateNode().Public()})
	do := func(a natpunch.Action) { p.do(t.Context(), a, agent) }

	do(natpunch.SendFrom{Node: node, To: remote}) // before there are any: nothing
	do(natpunch.OpenPorts{Node: node, N: 4})
	first := opened[0]
	<-first.ready
	first.heard(2, remote, []byte("x"))
	if at := <-inbox; at != (extraPort{node, 2}) {
		t.Errorf("received at %+v", at)
	}
	do(natpunch.SendFrom{Node: node, Port: 3, To: remote})
	do(natpunch.SendFrom{Node: node, Port: 4, To: remote}) // beyond
	if len(first.sent) != 1 || first.sent[0] != 3 {
		t.Errorf("sent from %v, want from 3", first.sent)
	}
	do(natpunch.Keep{Node: node, Remote: remote, Port: 1})
	if len(kept) != 1 || kept[0] != (wgsetup.Kept{Remote: remote, Port: 9001}) || len(first.kept) != 1 {
		t.Errorf("kept %v", kept)
	}
	do(natpunch.Keep{Node: node, Remote: remote, Port: 2}) // another one takes its place
	if len(kept) != 1 || kept[0].Port != 9002 {
		t.Errorf("kept %v, want one port towards one remote", kept)
	}
	do(natpunch.OpenPorts{Node: node, N: 2}) // the first ones end
	<-first.ended
	do(natpunch.Keep{Node: keys.GenerateNode().Public(), Remote: remote}) // nobody's
	if len(kept) != 1 || warned != 1 {
		t.Errorf("kept %v, %d warnings, want one", kept, warned)
	}

	refuse = errors.New("no")
	do(natpunch.Release{Node: node, Remote: remote})
	if len(p.kept) != 1 {
		t.Error("a port counts as given back that the device still keeps")
	}
	do(natpunch.OpenPorts{Node: node, N: 300})
	refuse = nil
	do(natpunch.Release{Node: node, Remote: remote})
	if len(kept) > 0 {
		t.Errorf("%v is still kept", kept)
	}
	p.end()
}

// Kept ports that an earlier process left are given back unless a peer is there.
func TestAdoptKeptPorts(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("alice", "5.0.1.1:20001", nil)
	b := w.host("bob", "5.0.2.1:20002", nil)
	a.hint(b.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("not connected")
	}
	var kept []wgsetup.Kept
	p := puncher{setKept: func(all []wgsetup.Kept) error { kept = all; return nil }, warn: func(string, error) {}}
	mine := wgsetup.Kept{Remote: b.inner, Port: 9000}
	p.adopt(w.now, a.mesh, []wgsetup.Kept{mine, {Remote: netip.MustParseAddrPort("5.0.3.1:20003"), Port: 9001}})
	if len(kept) != 1 || kept[0] != mine {
		t.Errorf("kept %v, want %v", kept, mine)
	}
}

// What comes to an extra port and is not ours is dropped; nothing else is believed.
func TestExtraPortsTakeChecksAlone(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("alice", "5.0.1.1:20001", nil)
	side := newOnePort(nil, a.mesh.drops)
	at := extraPort{keys.GenerateNode().Public(), 3}
	from := netip.MustParseAddrPort("5.0.2.1:20002")
	side.handleExtra(at, from, []byte("d1:y1:qe"))
	side.handleExtra(at, from, make([]byte, 9000))
	d := <-side.inbox
	a.mesh.receive(w.now, w.now, d)
	if n := a.mesh.drops.snapshot()["extra-port"]; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	if n := a.mesh.drops.snapshot()["size"]; n != 1 {
		t.Errorf("%d too long, want 1", n)
	}
}
