package natpunch

import (
	"fmt"
	"slices"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Reason is why a peer is not reached directly. The zero Reason is that it is.
type Reason struct {
	// Code is for programs, and does not change: one of the Reason constants.
	Code string
	// Text is for a person, in plain words.
	Text string
	// Mend is what would make the path direct; empty where nothing is known, or
	// nothing is needed but time.
	Mend string
}

// The codes of reasons.
const (
	ReasonSearching    = "searching"      // ordinary checks are being made
	ReasonPunching     = "punching"       // many ports are being tried
	ReasonNominating   = "nominating"     // a direct path works, the peer has yet to follow
	ReasonNoTraffic    = "no-traffic"     // checks pass, traffic did not
	ReasonNoAnswer     = "no-answer"      // none of the peer's addresses answers
	ReasonOwnMapping   = "own-mapping"    // this host's NAT maps by destination
	ReasonPeerMapping  = "peer-mapping"   // the peer's NAT does
	ReasonBothMappings = "both-mappings"  // both do
	ReasonSprayOff     = "spray-off"      // many ports would help, and are switched off
	ReasonNoPunch      = "no-punch"       // the peer does not take part in trying many ports
	ReasonNoPorts      = "no-ports"       // this host could not open, or keep, the ports for it
	ReasonNoNetwork    = "no-network"     // this host has no network
	ReasonNoIPv4       = "no-ipv4"        // the peer has only IPv4, this host none
	ReasonNoIPv6       = "no-ipv6"        // the peer has only IPv6, this host none
	ReasonOtherNetwork = "other-network"  // the peer knows only private addresses elsewhere
	ReasonNoAddress    = "no-address-yet" // the peer has not told any
)

// Reason says why the peer is not reached directly, and what would mend it. It is
// zero when it is, and for a peer that is not set.
func (a *Agent) Reason(node keys.NodePublic) Reason {
	c, ok := a.peers[node]
	if !ok || c.selected != nil && !c.selected.relayed() {
		return Reason{}
	}
	return c.whyNotDirect()
}

// mapping is the reason that the NATs give, as far as they are known.
func (l *checkList) mapping() Reason {
	own, its := dependent(l.agent.site.NAT4), dependent(l.nat4)
	r := Reason{Code: ReasonNoAnswer, Mend: l.forward("either router", false)}
	switch {
	case own && its:
		r = Reason{ReasonBothMappings, ": both NATs take another port for each destination, so neither side knows where to send", l.forward("either router", false)}
		if l.spray.last == missed {
			r.Text += "; the ports that were predicted were not the right ones"
		}
		return r
	case own:
		r = Reason{ReasonOwnMapping, ": this host's NAT takes another port for each destination, which a NAT at the other end seldom lets in", l.forward("this side's router", false)}
	case its:
		r = Reason{ReasonPeerMapping, ": the peer's NAT takes another port for each destination, so the peer is not where it says", l.forward("the peer's router", true)}
	default:
		return r
	}
	switch {
	case !l.agent.spray:
		r.Code = ReasonSprayOff
		r.Text += "; trying many ports is switched off here"
		r.Mend = "leaving out --no-spray, " + r.Mend
	case l.spray.last == unanswered:
		r.Code = ReasonNoPunch
		r.Text += "; the peer does not answer when asked to try many ports"
	case l.spray.last == hostFailed:
		r.Code = ReasonNoPorts
		r.Text += "; this host could not open the ports to try"
	case l.spray.last == missed:
		r.Text += fmt.Sprintf("; %d ports met none of those that the other side tried", sprayPorts)
	}
	return r
}

// forward says what makes a host reachable behind any NAT.
func (l *checkList) forward(router string, there bool) string {
	to := "the peer's WireGuard port"
	own := slices.IndexFunc(l.agent.site.Candidates, func(c wire.Candidate) bool { return c.Type == wire.Host })
	if own >= 0 && !there {
		to = fmt.Sprintf("UDP %d of this host", l.agent.site.Candidates[own].Addr.Port())
	}
	return "a port mapping (UPnP, NAT-PMP or PCP) on " + router + ", IPv6 on both sides, or a port forwarded to " + to + " would make it direct"
}
