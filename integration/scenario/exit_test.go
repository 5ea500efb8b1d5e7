package scenario

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/natpunch/demux"
	"golang.org/x/sys/unix"
)

// A traveller sends all of its traffic through a gate on the internet.
type traveller struct {
	*world
	cafe      *lab.Router
	laptop    *node
	gate      *node
	neighbour *lab.Host // on the cafe's LAN
	friend    *node     // there as well
	web       *lab.Host // on the internet
	capture   *lab.Capture
	port      uint16 // the laptop's, which it keeps
}

func newTraveller(t *testing.T, backend string) *traveller {
	t.Helper()
	if backend == "embedded" {
		t.Parallel()
	}
	v := &traveller{world: newWorld(t, backend)}
	v.cafe = v.NAT("cafe", lab.PortRestricted)
	v.cafe.IPv6 = true
	v.laptop, v.neighbour = v.join(v.cafe.Host("laptop")), v.cafe.Host("neighbour")
	v.friend = v.join(v.cafe.Host("friend"))
	v.gate, v.web = v.join(v.Lab.Host("gate")), v.Lab.Host("web")
	v.build()
	v.flags = []string{"--no-stun", "--no-dht"}
	v.serve(v.web, v.web.IPv4()[0], v.web.IPv6()[0])
	v.serve(v.neighbour, v.neighbour.IPv4()[0], v.neighbour.IPv6()[0])
	var err error
	v.capture, err = v.laptop.Host.Capture("eth0")
	v.must(err)
	return v
}

const gatePort = "23456"

func (v *traveller) openGate() {
	v.t.Helper()
	v.gate.up("--advertise-exit-node", "--port", gatePort)
	v.gate.Joined = true
}

func (v *traveller) travel() {
	v.t.Helper()
	v.port = v.laptop.up("--exit-node", "gate", "--bootstrap", netip.AddrPortFrom(v.gate.Host.IPv4()[0], 23456).String()).Port
	v.laptop.Joined = true
}

func (v *traveller) exitState() string {
	v.t.Helper()
	if e := v.laptop.status().Self.ExitNode; e != nil {
		return e.State
	}
	return ""
}

// webReached expects that the web is reached in both families, seen as from the host.
func (v *traveller) webReached(by func(seen netip.Addr) bool) {
	v.t.Helper()
	for _, at := range []netip.Addr{v.web.IPv4()[0], v.web.IPv6()[0]} {
		if seen := v.reaches(v.laptop.Host, at, time.Minute); !by(seen) {
			v.t.Errorf("the web sees %s", seen)
		}
	}
}

func (v *traveller) byGate(seen netip.Addr) bool {
	return slices.Contains(v.gate.Host.IPv4(), seen) || slices.Contains(v.gate.Host.IPv6(), seen)
}

func (v *traveller) webOut() {
	v.t.Helper()
	for _, at := range []netip.Addr{v.web.IPv4()[0], v.web.IPv6()[0]} {
		v.reachesNot(v.laptop.Host, at)
	}
}

func (v *traveller) lanReached() {
	v.t.Helper()
	for _, at := range []netip.Addr{v.neighbour.IPv4()[0], v.neighbour.IPv6()[0]} {
		if seen := v.reaches(v.laptop.Host, at, 30*time.Second); seen != v.laptop.Host.IPv4()[0] && seen != v.laptop.Host.IPv6()[0] {
			v.t.Errorf("the neighbour sees %s", seen)
		}
	}
}

// noLeak expects that nothing has left the laptop for the internet but WireGuard's and what travels with it.
func (v *traveller) noLeak(what string) {
	v.t.Helper()
	leaked := 0
	for _, p := range v.capture.Packets() {
		to := p.Dst.Addr()
		local := v.cafe.LAN.Contains(to) || to.IsMulticast() || to.IsLinkLocalUnicast() ||
			v.cafe.IPv6 && netip.PrefixFrom(v.laptop.Host.IPv6()[0], 64).Masked().Contains(to)
		ours := p.Protocol == unix.IPPROTO_UDP && p.Src.Port() == v.port                         // to wherever a member may be
		ours = ours || p.Protocol == unix.IPPROTO_UDP && demux.Classify(p.Payload) == demux.STUN // what measures the NAT has ports of its own
		if p.Outgoing && !local && !ours {
			if leaked++; leaked <= 10 {
				v.t.Errorf("%s: leaked: %v", what, p)
			}
		}
	}
	if leaked > 10 {
		v.t.Errorf("%s: %d packets leaked", what, leaked)
	}
}

// With an exit node all traffic of a host leaves there, of IPv6 too, and none past it: not before the exit node is
// found, not while it is away, not after a crash. The local network stays in reach.
func TestExitNode(t *testing.T)       { exitNode(t, "embedded") }
func TestKernelExitNode(t *testing.T) { exitNode(t, "kernel") }

// netcheckPastExit expects that root looks past the exit node, and that who may not is told so.
func (v *traveller) netcheckPastExit() {
	v.t.Helper()
	stun := netip.AddrPortFrom(v.web.IPv4()[0], 3478).String() // nobody listens there
	r, _ := netcheckOf(v.t, v.world, v.laptop.Host, "--stun", stun)
	if r.IPv4.Tunnel != "" || r.IPv4.Source != v.laptop.Host.IPv4()[0] {
		v.t.Errorf("root goes by %q, from %v", r.IPv4.Tunnel, r.IPv4.Source)
	}
	result, err := v.laptop.Host.Run(v.within(time.Minute), "setpriv", "--bounding-set", "-net_admin,-net_raw", "--inh-caps", "-net_admin,-net_raw",
		binary, "netcheck", "--stun", stun, "--portal-url", "none")
	v.must(err)
	if words := strings.Join(strings.Fields(result.Output), " "); result.Code != 0 || !strings.Contains(words, "an exit node, through "+v.laptop.status().Interface) {
		v.t.Errorf("without privileges, code %d: %s", result.Code, result.Output)
	}
}

func exitNode(t *testing.T, backend string) {
	v := newTraveller(t, backend)
	v.travel()
	if got := v.exitState(); got != "unknown" {
		t.Errorf("the exit node is %q before it is there", got)
	}
	v.webOut()
	v.lanReached()
	v.noLeak("before the exit node is found")

	v.openGate()
	v.laptop.reach(v.gate, 30*time.Second)
	v.webReached(v.byGate)
	v.lanReached()
	v.eventually(time.Minute, "the exit node is known to work", func() bool { return v.exitState() == "working" })
	v.friend.up() // is found by the LAN alone
	v.laptop.reach(v.friend, 30*time.Second)
	v.eventually(30*time.Second, "the friend is reached by the LAN", func() bool {
		p, known := v.laptop.peer(v.friend)
		return known && p.Path == "lan"
	})
	v.noLeak("with the exit node")
	if backend == "embedded" {
		v.netcheckPastExit()
	}

	v.gate.Daemon().Kill()
	if backend == "kernel" {
		v.output(v.gate.Host, "ip", "link", "delete", "credant0") // the kernel's WireGuard outlives its daemon
	}
	v.webOut()
	v.lanReached()
	v.eventually(2*time.Minute, "the exit node is known to be away", func() bool { return v.exitState() == "away" })
	v.webOut()
	v.noLeak("with the exit node away")

	v.openGate()
	v.webReached(v.byGate)

	v.laptop.Daemon().Kill()
	if backend == "kernel" {
		v.webReached(v.byGate) // WireGuard goes on
	} else {
		v.webOut() // and so do the rules
	}
	v.lanReached()
	v.noLeak("after a crash")

	v.travel()
	v.webReached(v.byGate)
	v.noLeak("with the daemon back")

	v.laptop.down()
	v.webReached(func(seen netip.Addr) bool {
		return seen == v.cafe.PublicIPv4() || slices.Contains(v.laptop.Host.IPv6(), seen)
	})
	if rules := v.output(v.laptop.Host, "ip", "rule") + v.output(v.laptop.Host, "ip", "-6", "rule"); len(slices.DeleteFunc(splitLines(rules), isPlainRule)) != 0 {
		t.Errorf("rules are still there: %s", rules)
	}
}

// Nothing leaves past an exit node that is blocked, between two starts, and with another one that nobody knows; without
// one, the host's own way is back, after a crash too.
func TestExitNodeThatChanges(t *testing.T) {
	v := newTraveller(t, "embedded")
	v.openGate()
	v.travel()
	v.laptop.reach(v.gate, 30*time.Second)
	v.webReached(v.byGate)

	v.laptop.command("block", "gate")
	v.eventually(30*time.Second, "the exit node is said to be blocked", func() bool { return v.exitState() == "blocked" })
	v.webOut()
	v.lanReached()
	v.noLeak("with the exit node blocked")
	v.laptop.command("unblock", "gate")
	v.webReached(v.byGate)

	v.must(v.laptop.Stop(v.within(time.Minute), syscall.SIGUSR1))
	v.webOut()
	v.noLeak("between two starts")
	v.laptop.up("--exit-node", "nobody")
	v.webOut()
	v.lanReached()
	if got := v.exitState(); got != "unknown" {
		t.Errorf("an exit node that nobody knows is %q", got)
	}
	v.noLeak("with another exit node")

	v.laptop.Daemon().Kill()
	v.laptop.up()
	v.webReached(func(seen netip.Addr) bool { return !v.byGate(seen) })
}
