package control

import (
	"net/netip"
	"time"
)

// icmpAgain bounds the checks that ICMP errors cause. Anybody can forge one.
const icmpAgain = 200 * time.Millisecond

// unreachable takes an ICMP error about a datagram of this node's. It is a hint
// that the path is worth a check, and no verdict.
func (m *mesh) unreachable(now time.Time, to netip.AddrPort) {
	if now.Sub(m.where.unreachable) < icmpAgain {
		return
	}
	for _, p := range m.peers {
		if p.path.Addr == to && p.working() {
			m.where.unreachable = now
			m.agent.CheckConsent(now, p.node)
			m.suspectRelay(now, p.relayOf())
		}
	}
}
