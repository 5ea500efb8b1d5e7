package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// pickSamples ports are looked at, of pickPorts local ones; fewer when all say
	// the same.
	pickSamples = 12
	clearAfter  = 6
	// maxStep is the widest step that a prediction can live with.
	maxStep = 32
	// maxBlock is the widest range that is called a block. Eight ports that are
	// random in all of 1024-65535 fall into one this wide once in 200,000 runs.
	maxBlock     = 8192
	blockSamples = 8
)

// pickTest watches which ports a NAT picks for new mappings, one after the other.
type pickTest struct {
	asked []*ask
}

// testPicks sends from fresh ports to two servers in turn, each time after the
// answer to the one before: where ports are preserved, only the second shows how
// the NAT picks.
func (p *Probe) testPicks(now time.Time) bool {
	t := &p.picks
	if !p.dependent() {
		return true
	}
	if n := len(t.asked); n > 0 && !t.asked[n-1].settled {
		return false
	}
	var samples []uint16
	for _, a := range t.asked {
		if a.heard && a.mapped.Port() != p.ports[a.port].local {
			samples = append(samples, a.mapped.Port())
		}
	}
	step, even := stepOf(samples)
	if len(t.asked) == pickSamples || even && len(samples) >= clearAfter {
		p.result.Step = step
		if step == 0 {
			p.result.Low, p.result.High = blockOf(samples)
		}
		for _, a := range t.asked {
			p.closePort(a.port)
		}
		return true
	}
	targets := p.twoServers()
	port := len(p.ports) - 1
	if len(t.asked)%2 == 0 {
		port = p.openPort()
	}
	t.asked = append(t.asked, p.ask(now, port, targets[len(t.asked)%2], question{}))
	p.changed = t.asked[len(t.asked)-1].settled // out of budget
	return false
}

// twoServers are two addresses that answered, with different IP addresses.
func (p *Probe) twoServers() [2]netip.AddrPort {
	first := p.anyServer()
	for _, a := range slices.Concat(p.find.asked, p.find.tests) {
		if a.heard && a.to.Addr() != first.Addr() {
			return [2]netip.AddrPort{first, a.to}
		}
	}
	return [2]netip.AddrPort{first, first}
}

// stepOf returns the distance between consecutive ports, or zero where they are
// not sequential. Hosts that share the NAT take ports in between, and the end of
// the range comes once: so all of the distances but one leap have to be short and of
// one sign, and the step is what divides them. Even: all are the same.
func stepOf(ports []uint16) (step int, even bool) {
	if len(ports) < 4 {
		return 0, false
	}
	var up, down []int
	distances := 0
	for i := 1; i < len(ports); i++ {
		d := int(ports[i]) - int(ports[i-1])
		distances++
		switch {
		case d > 0 && d <= maxStep:
			up = append(up, d)
		case d < 0 && d >= -maxStep:
			down = append(down, -d)
		}
	}
	sign, near := 1, up
	if len(down) > len(up) {
		sign, near = -1, down
	}
	if len(near) < distances-1 || len(up) > 0 && len(down) > 0 {
		return 0, false
	}
	for _, d := range near {
		step = greatestDivisor(step, d)
	}
	return sign * step, len(near) == distances && slices.Max(near) == step
}

func greatestDivisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// blockOf returns the range that the ports seem to be picked from, where it is
// narrow; what was seen is widened by the usual gap between neighbours.
func blockOf(ports []uint16) (low, high uint16) {
	if len(ports) < blockSamples {
		return 0, 0
	}
	first, last := int(slices.Min(ports)), int(slices.Max(ports))
	if last-first > maxBlock {
		return 0, 0
	}
	gap := (last-first)/(len(ports)-1) + 1
	return uint16(max(first-gap, 1)), uint16(min(last+gap, 1<<16-1))
}
