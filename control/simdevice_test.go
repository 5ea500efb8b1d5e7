package control

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// simDevice is WireGuard as far as the start of sessions and roaming go: an
// initiation is sent again after 5 s at the soonest, an unknown sender's is
// dropped, and an authenticated packet moves the endpoint.
type simDevice struct {
	host    *simHost
	private wgtypes.Key
	public  wgtypes.Key
	peers   map[wgtypes.Key]*simPeer
	sends   int

	redirects map[netip.AddrPort]netip.AddrPort
	heard     map[int]bool // numbers of packets that arrived
}

type simPeer struct {
	state     wgsetup.PeerState
	initiated time.Time
	keepalive bool
	interval  time.Duration
	traversal time.Time // when an authenticated packet last went either way
	session   bool
	initiator bool // of the session
	awaits    bool // a response
	offered   bool // a session that no data has confirmed yet
}

type wgMessage struct {
	kind   string // "initiation", "response", "data"
	from   wgtypes.Key
	number int // of a packet that the test sent; zero: WireGuard's own
}

func (d *simDevice) apply(want wgsetup.Desired) {
	wanted := map[wgtypes.Key]bool{}
	for _, p := range want.Peers {
		wanted[p.PublicKey] = true
		if d.peers[p.PublicKey] == nil {
			d.peers[p.PublicKey] = &simPeer{state: wgsetup.PeerState{Endpoint: p.Endpoint}}
		}
		sp := d.peers[p.PublicKey]
		if p.Keepalive > 0 && !sp.keepalive {
			sp.keepalive, sp.interval = true, p.Keepalive
			d.transmit(p.PublicKey)
			sp.traversal = d.host.w.now
			d.keepAlive(p.PublicKey, sp)
		} else if p.Keepalive > 0 && p.Keepalive != sp.interval {
			sp.interval = p.Keepalive // the kernel's timer follows at the next packet
		}
	}
	for k := range d.peers {
		if !wanted[k] {
			delete(d.peers, k)
		}
	}
}

// keepAlive sends a packet whenever none has gone either way for the interval.
func (d *simDevice) keepAlive(key wgtypes.Key, p *simPeer) {
	due := p.traversal.Add(p.interval)
	d.host.w.after(due.Sub(d.host.w.now), func() {
		if d.peers[key] != p || d.host.device != d {
			return
		}
		if !d.host.w.now.Before(p.traversal.Add(p.interval)) {
			d.transmit(key)
			p.traversal = d.host.w.now // tried, even where nothing could be sent
		}
		d.keepAlive(key, p)
	})
}

func (d *simDevice) SetRedirects(all []wgsetup.Redirect) error {
	d.redirects = map[netip.AddrPort]netip.AddrPort{}
	for _, r := range all {
		d.redirects[r.From] = r.To
	}
	return nil
}

func (d *simDevice) SetEndpoint(peer wgtypes.Key, addr netip.AddrPort) error {
	if d.peers[peer] == nil {
		return fmt.Errorf("set endpoint: %w", wgsetup.ErrNoPeer)
	}
	d.peers[peer].state.Endpoint = addr
	return nil
}

func (d *simDevice) Nudge(peer wgtypes.Key) error {
	if d.peers[peer] == nil {
		return fmt.Errorf("nudge: %w", wgsetup.ErrNoPeer)
	}
	d.transmit(peer)
	return nil
}

func (d *simDevice) Reset(peer wgtypes.Key) error {
	p := d.peers[peer]
	if p == nil {
		return fmt.Errorf("reset: %w", wgsetup.ErrNoPeer)
	}
	again := &simPeer{keepalive: p.keepalive, interval: p.interval, traversal: d.host.w.now, state: wgsetup.PeerState{Endpoint: p.state.Endpoint}}
	d.peers[peer] = again
	if again.keepalive {
		d.keepAlive(peer, again)
	}
	return nil
}

func (d *simDevice) age(p *simPeer) time.Duration {
	return d.host.w.now.Sub(p.state.LastHandshake.Add(-d.host.wall))
}

// transmit sends one packet: data in a session that may carry it, and an
// initiation where there is none or this side's has grown old.
func (d *simDevice) transmit(peer wgtypes.Key) {
	p, w := d.peers[peer], d.host.w
	if p == nil || !p.state.Endpoint.IsValid() {
		return
	}
	d.sends++
	if p.session && d.age(p) < 180*time.Second {
		p.state.TxBytes += 32
		p.traversal = w.now
		w.send(d.host, p.state.Endpoint, wgMessage{kind: "data", from: d.public})
		if !p.initiator || d.age(p) < 120*time.Second {
			return
		}
	}
	d.initiate(peer, p)
}

func (d *simDevice) initiate(peer wgtypes.Key, p *simPeer) {
	w := d.host.w
	if !p.initiated.IsZero() && w.now.Sub(p.initiated) < 5*time.Second { // REKEY_TIMEOUT
		return
	}
	p.initiated, p.awaits = w.now, true
	p.state.TxBytes += 148
	w.send(d.host, p.state.Endpoint, wgMessage{kind: "initiation", from: d.public})
	w.after(5*time.Second, func() {
		if q := d.peers[peer]; q == p && p.awaits && d.host.device == d {
			d.initiate(peer, p)
		}
	})
}

func (d *simDevice) receive(from netip.AddrPort, m wgMessage) {
	p := d.peers[m.from]
	if p == nil {
		return
	}
	switch m.kind {
	case "initiation":
		p.state.RxBytes += 148
		p.offered = true
		d.host.w.send(d.host, from, wgMessage{kind: "response", from: d.public})
	case "response":
		if !p.awaits {
			return
		}
		p.awaits, p.session, p.initiator = false, true, true
		p.state.RxBytes += 92
		p.state.LastHandshake = d.host.wallTime()
		d.host.w.send(d.host, from, wgMessage{kind: "data", from: d.public})
	case "data":
		if p.offered { // confirms the session that it was offered
			p.offered, p.session, p.initiator = false, true, false
			p.state.LastHandshake = d.host.wallTime()
		}
		if !p.session {
			return
		}
		p.state.RxBytes += 32
		if m.number > 0 {
			p.state.RxBytes += 68
			d.heard[m.number] = true
		}
		if p.initiator && d.age(p) > 165*time.Second {
			d.initiate(m.from, p)
		}
	}
	p.state.Endpoint, p.traversal = from, d.host.w.now
}

func (d *simDevice) states() map[wgtypes.Key]wgsetup.PeerState {
	all := map[wgtypes.Key]wgsetup.PeerState{}
	for k, p := range d.peers {
		all[k] = p.state
	}
	return all
}

// connected tells whether a and b have a session, both ways and known to both.
func connected(a, b *simHost) bool {
	pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
	return pa != nil && pb != nil && pa.working() && pb.working()
}
