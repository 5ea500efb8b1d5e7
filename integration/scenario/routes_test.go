package scenario

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// An office is a LAN with a host on it that runs nothing of ours, and a laptop at home.
type office struct {
	*world
	home            *lab.Router
	lan, ula        netip.Prefix // of the office; ula is IPv6
	printer         *lab.Host
	at4, at6        netip.Addr // the printer's
	laptop, phone   *node
	gates           []*node // members in the office
	gate, otherGate *node
}

func newOffice(t *testing.T, backend string, gates int) *office {
	t.Helper()
	if backend == "embedded" {
		t.Parallel() // most of it is waiting
	}
	o := &office{world: newWorld(t, backend)}
	home, there := o.NAT("home", lab.PortRestricted.HidePort()), o.NAT("office", lab.PortRestricted.HidePort())
	o.home = home
	o.lan, o.ula = there.LAN, netip.MustParsePrefix("fd99:7::/64")
	for _, name := range []string{"gate", "othergate"}[:gates] {
		o.gates = append(o.gates, o.join(there.Host(name)))
	}
	o.gate, o.otherGate = o.gates[0], o.gates[gates-1]
	o.printer = there.Host("printer")
	o.laptop, o.phone = o.join(home.Host("laptop")), o.join(home.Host("phone"))
	dht := o.addDHT()
	o.build()
	o.flags = []string{"--no-stun", "--no-lan"}
	o.startDHT(dht)
	for i, h := range []*lab.Host{o.printer, o.gate.Host, o.otherGate.Host}[:gates+1] {
		a := o.ula.Addr().Next()
		for range i {
			a = a.Next()
		}
		o.output(h, "ip", "address", "add", netip.PrefixFrom(a, 64).String(), "dev", "eth0", "nodad")
	}
	o.at4, o.at6 = o.printer.IPv4()[0], o.ula.Addr().Next()
	o.serve(o.printer, o.at4, o.at6)
	for _, g := range o.gates {
		o.output(g.Host, "sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
	}
	return o
}

// advertise starts a gate.
func (o *office) advertise(g *node) {
	o.t.Helper()
	g.up("--advertise-route", o.lan.String(), "--advertise-route", o.ula.String())
}

// route is what a member's status says of the office's LAN behind a gate.
func (o *office) route(n, gate *node) (state, reason string) {
	o.t.Helper()
	p, _ := n.peer(gate)
	for _, r := range p.Routes {
		if r.Prefix == o.lan.String() {
			return r.State, r.Reason
		}
	}
	return "", ""
}

func (o *office) awaitRoute(n, gate *node, want string, limit time.Duration) {
	o.t.Helper()
	o.eventually(limit, "the LAN is "+want+" through "+gate.Host.Name, func() bool {
		state, _ := o.route(n, gate)
		return state == want
	})
}

func (o *office) ping(from *lab.Host, to netip.Addr) bool {
	o.t.Helper()
	result, err := from.Run(o.within(15*time.Second), "ping", "-c", "1", "-W", "3", to.String())
	o.must(err)
	return result.Code == 0
}

// A host in the office that runs nothing of ours is reached from home, by those who accept the route and nobody else.
func TestLANBehindNode(t *testing.T)       { lanBehindNode(t, "embedded") }
func TestKernelLANBehindNode(t *testing.T) { lanBehindNode(t, "kernel") }

func lanBehindNode(t *testing.T, backend string) {
	o := newOffice(t, backend, 1)
	o.advertise(o.gate)
	o.laptop.up("--accept-routes", "gate")
	o.phone.up()
	o.laptop.reach(o.gate, 30*time.Second)
	o.phone.reach(o.gate, 30*time.Second)
	o.awaitRoute(o.laptop, o.gate, "accepted", 30*time.Second)
	for _, at := range []netip.Addr{o.at4, o.at6} {
		if seen := o.reaches(o.laptop.Host, at, 30*time.Second); !o.lan.Contains(seen) && !o.ula.Contains(seen) {
			t.Errorf("the printer sees %s: that is no address that it has a route to", seen)
		}
		if !o.ping(o.laptop.Host, at) {
			t.Errorf("no echo of %s", at)
		}
		o.reachesNot(o.phone.Host, at)
	}
	if state, _ := o.route(o.phone, o.gate); state != "offered" {
		t.Errorf("the phone's route is %q", state)
	}
	// Who has the route, but for whom the gate forwards nothing: hosts of the LAN that ask by themselves.
	if got := o.output(o.gate.Host, "sysctl", "-n", "net.ipv4.ip_forward"); strings.TrimSpace(got) != "1" {
		t.Errorf("the gate does not forward: %s", got)
	}

	o.laptop.down()
	if got := o.output(o.laptop.Host, "ip", "route", "show", o.lan.String()); got != "" {
		t.Errorf("the laptop's route is still there: %s", got)
	}
	o.gate.down()
	for _, setting := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		if got := o.output(o.gate.Host, "sysctl", "-n", setting); strings.TrimSpace(got) != "0" {
			t.Errorf("%s is still %s", setting, got)
		}
	}
	if got := o.output(o.gate.Host, "nft", "list", "ruleset"); strings.Contains(got, "credant") {
		t.Errorf("rules are still there: %s", got)
	}
}

// A route that this host has itself is not given to anybody, and it is said why.
func TestRouteOfOwnLANRefused(t *testing.T) {
	o := newOffice(t, "embedded", 1)
	o.gate.up("--advertise-route", o.laptop.Host.Uplink.Address().String()+"/32", "--advertise-route", o.lan.String())
	o.laptop.up("--accept-routes", "all")
	o.laptop.reach(o.gate, 30*time.Second)
	o.awaitRoute(o.laptop, o.gate, "accepted", 30*time.Second)
	p, _ := o.laptop.peer(o.gate)
	for _, r := range p.Routes {
		if r.Prefix != o.lan.String() && (r.State != "refused" || !strings.Contains(r.Reason, "itself")) {
			t.Errorf("%+v", r)
		}
	}
	if notices := strings.Join(o.laptop.status().Notices, "\n"); !strings.Contains(notices, "is not used") {
		t.Errorf("notices: %s", notices)
	}
	// The gate is on the same LAN as the printer, which is not to change what a member there does.
	if got := o.output(o.laptop.Host, "ip", "route", "get", o.laptop.Host.Uplink.Address().String()); strings.Contains(got, "credant") {
		t.Errorf("the laptop reaches itself by %s", got)
	}
}

// Two gates lead to one LAN: when the first is lost, the other one takes over, and gives it back.
func TestRouteFailover(t *testing.T) {
	o := newOffice(t, "embedded", 2)
	o.advertise(o.gate)
	o.advertise(o.otherGate)
	o.laptop.up("--accept-routes", "gate,othergate")
	o.laptop.reach(o.gate, 30*time.Second)
	o.laptop.reach(o.otherGate, 30*time.Second)
	o.awaitRoute(o.laptop, o.gate, "accepted", 90*time.Second) // whoever was met first may have had it
	o.reaches(o.laptop.Host, o.at4, 30*time.Second)
	o.awaitRoute(o.laptop, o.otherGate, "standby", 30*time.Second)
	if state, reason := o.route(o.laptop, o.otherGate); !strings.Contains(reason, "gate") {
		t.Errorf("the other gate's route: %s, %s", state, reason)
	}
	o.gate.Joined = true
	o.gate.Daemon().Kill()
	began := time.Now()
	o.reaches(o.laptop.Host, o.at4, time.Minute)
	t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
	o.awaitRoute(o.laptop, o.otherGate, "accepted", 10*time.Second)
	o.reaches(o.laptop.Host, o.at6, 30*time.Second)

	o.advertise(o.gate)
	o.awaitRoute(o.laptop, o.gate, "accepted", 3*time.Minute)
	o.reaches(o.laptop.Host, o.at4, 30*time.Second)
	// The name was pinned to the node that had it.
	o.laptop.Joined = true
	o.laptop.down()
	o.laptop.up("--accept-routes", "gate,othergate")
	o.reaches(o.laptop.Host, o.at4, time.Minute)
}

// A route may hold the address at which a member is reached: the member stays reached there, past the tunnel, and all
// else goes where the route leads. Else any member could take a route away by being in it.
func TestRouteAroundMember(t *testing.T)       { routeAroundMember(t, "embedded") }
func TestKernelRouteAroundMember(t *testing.T) { routeAroundMember(t, "kernel") }

func routeAroundMember(t *testing.T, backend string) {
	if backend == "embedded" {
		t.Parallel()
	}
	w := newWorld(t, backend)
	home, office := w.NAT("home", lab.PortRestricted.HidePort()), w.NAT("office", lab.PortRestricted.HidePort())
	laptop, gate, there := w.join(home.Host("laptop")), w.join(office.Host("gate")), w.join(w.Host("there"))
	dht := w.addDHT()
	w.build()
	w.flags = []string{"--no-stun", "--no-lan"}
	w.startDHT(dht)
	at := there.Host.IPv4()[0]
	w.serve(there.Host, at)
	// What looks for the way back has to find it by the port.
	w.output(laptop.Host, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1")
	there.up()
	gate.up("--advertise-route", at.String()+"/32")
	laptop.up("--accept-routes", "gate")
	for restarted := range 2 {
		laptop.reach(gate, 30*time.Second)
		laptop.reach(there, 30*time.Second)
		w.eventually(30*time.Second, "the route leads to the gate, and the member is reached directly where it leads", func() bool {
			p, _ := laptop.peer(gate)
			q, _ := laptop.peer(there)
			return len(p.Routes) == 1 && p.Routes[0].State == "accepted" && q.Path == "direct" && strings.HasPrefix(q.Endpoint, at.String()+":")
		})
		w.eventually(30*time.Second, "the rest goes through the gate", func() bool {
			return w.reaches(laptop.Host, at, 30*time.Second) == office.PublicIPv4()
		})
		if result, err := laptop.Host.Run(w.within(15*time.Second), "ping", "-c", "5", "-i", "0.2", "-W", "3", there.overlay().String()); err != nil || result.Code != 0 {
			t.Errorf("the member is not reached: %v %s", err, result.Output)
		}
		if restarted == 0 {
			laptop.Joined = true
			laptop.down()
			laptop.up("--accept-routes", "gate")
		}
	}
	laptop.down()
	if rules := w.output(laptop.Host, "ip", "rule"); len(slices.DeleteFunc(splitLines(rules), isPlainRule)) != 0 {
		t.Errorf("rules are still there: %s", rules)
	}
}
