package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// Two nodes that send all of their traffic through an exit node find each other, their relay, the DHT and STUN servers
// past it: they are relayed, then direct, where they are seen and not where the exit is, and go on without the exit.
func TestPairBehindExit(t *testing.T)       { pairBehindExit(t, "embedded") }
func TestKernelPairBehindExit(t *testing.T) { pairBehindExit(t, "kernel") }

func pairBehindExit(t *testing.T, backend string) {
	if backend == "embedded" {
		t.Parallel()
	}
	v := &traveller{world: newWorld(t, backend)}
	v.cafe = v.NAT("cafe", lab.PortRestricted.HidePort())
	office := v.NAT("office", lab.PortRestricted.HidePort())
	v.laptop, v.friend = v.join(v.cafe.Host("laptop")), v.join(office.Host("friend"))
	v.gate, v.web = v.join(v.Lab.Host("gate")), v.Lab.Host("web")
	stun := v.Lab.Host("stun")
	stun.Addresses = 2
	vps := v.relay(v.Lab.Host("vps"), "--no-dht")
	dht := v.addDHT()
	v.build()
	v.startRelay(vps)
	v.startDHT(dht)
	v.startSTUN(stun)
	v.flags = append(v.flags, "--relay", vps.Address())
	v.serve(v.web, v.web.IPv4()[0])
	v.shut(v.cafe, office)
	var err error
	v.capture, err = v.laptop.Host.Capture("eth0")
	v.must(err)

	v.openGate()
	v.port = v.laptop.up("--exit-node", "gate").Port
	v.friend.up("--exit-node", "gate")
	v.laptop.Joined = true
	for _, n := range []*node{v.laptop, v.friend} {
		n.reach(v.gate, 30*time.Second)
		v.eventually(time.Minute, "all traffic leaves at the exit", func() bool {
			return v.reaches(n.Host, v.web.IPv4()[0], time.Minute) == v.gate.Host.IPv4()[0]
		})
	}
	if reply, _ := v.laptop.reach(v.friend, 30*time.Second); reply.Path != "relay" {
		t.Fatalf("path %s, want relay", reply.Path)
	}
	v.outside("with an exit")

	streams := v.streams(v.laptop, v.friend, 100)
	time.Sleep(time.Second)
	v.open(v.cafe, office)
	v.direct(office)
	time.Sleep(scaled(8 * time.Second)) // longer than any swap
	v.noneLost(streams)
	v.noLeak("with an exit")

	v.gate.Daemon().Kill()
	if backend == "kernel" {
		v.output(v.gate.Host, "ip", "link", "delete", "credant0")
	}
	v.eventually(2*time.Minute, "the exit node is known to be away", func() bool { return v.exitState() == "away" })
	v.laptop.reach(v.friend, 10*time.Second)
	v.noLeak("with the exit away")
	v.capture.Stop()
	v.laptop.down() // what leaves meanwhile is the host's own, such as ICMP errors about a closed port
	v.laptop.up("--exit-node", "gate")
	v.capture, err = v.laptop.Host.Capture("eth0")
	v.must(err)
	v.laptop.reach(v.friend, 30*time.Second)
	v.direct(office)
	v.outside("without an exit")
	v.reachesNot(v.laptop.Host, v.web.IPv4()[0])
	v.noLeak("without an exit")
}

// outside expects that the laptop is served by all that is not in its network, where it is itself.
func (v *traveller) outside(when string) {
	v.t.Helper()
	v.eventually(time.Minute, "the relay serves the laptop, "+when, func() bool {
		relays := v.laptop.status().Relays
		return len(relays) == 1 && relays[0].Home && relays[0].Class == "own"
	})
	v.eventually(time.Minute, "STUN servers see the laptop where it is, "+when, func() bool {
		var seen []string
		for _, c := range v.laptop.status().Self.Candidates {
			if c.Type == "srflx" {
				seen = append(seen, c.Address)
			}
		}
		return len(seen) > 0 && !slices.ContainsFunc(seen, func(a string) bool {
			return netip.MustParseAddrPort(a).Addr() != v.cafe.PublicIPv4()
		})
	})
	v.eventually(time.Minute, "the DHT answers, "+when, func() bool {
		return v.laptop.status().Sources["dht"].Nodes > 0
	})
}

// direct expects a direct path between the laptop and its friend, to where these are.
func (v *traveller) direct(office *lab.Router) {
	v.t.Helper()
	v.eventually(time.Minute, "both have a direct path", func() bool {
		there, _ := v.laptop.peer(v.friend)
		back, _ := v.friend.peer(v.laptop)
		return there.Path == "direct" && back.Path == "direct" &&
			netip.MustParseAddrPort(there.Endpoint).Addr() == office.PublicIPv4() &&
			netip.MustParseAddrPort(back.Endpoint).Addr() == v.cafe.PublicIPv4()
	})
}
