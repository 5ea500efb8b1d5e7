package netcheck

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/portmap"
)

func TestMeaning(t *testing.T) {
	yes, no := true, false
	outer := []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:41000")}
	nat := func(mapping, filtering natpunch.MappingBehavior) natpunch.FamilyStatus {
		return natpunch.FamilyStatus{Mapping: mapping, Filtering: filtering, Translated: &yes, Servers: 2, Reflexive: outer}
	}
	gateway := func(external string, spoken bool) []portmap.Report {
		p := portmap.ProtocolReport{Protocol: portmap.PCP, Spoken: spoken}
		if external != "" {
			p.External = netip.MustParseAddr(external)
		}
		return []portmap.Report{{
			Gateway: netip.MustParseAddr("192.168.1.1"), Local: netip.MustParseAddr("192.168.1.10"),
			Protocols: []portmap.ProtocolReport{p},
		}}
	}
	sequential := nat(natpunch.AddressAndPortDependent, natpunch.AddressAndPortDependent)
	sequential.Step = -2
	block := nat(natpunch.AddressAndPortDependent, natpunch.AddressAndPortDependent)
	block.Low, block.High = 40000, 40999
	short := nat(natpunch.EndpointIndependent, natpunch.EndpointIndependent)
	short.Lifetime, short.Hairpin = 15*time.Second, &no
	unmeasured := nat(natpunch.EndpointIndependent, natpunch.EndpointIndependent)
	unmeasured.LifetimeDetail = "the lifetime is unknown: so it is"
	open := natpunch.FamilyStatus{Mapping: natpunch.EndpointIndependent, Filtering: natpunch.EndpointIndependent, Translated: &no, Servers: 2}
	firewall := open
	firewall.Filtering = natpunch.AddressAndPortDependent

	for name, tt := range map[string]struct {
		report Report
		v4     natpunch.FamilyStatus
		udp    string
		direct string
		says   []string
	}{
		"nothing known":         {Report{}, natpunch.FamilyStatus{}, "unknown", "unknown", []string{"No STUN server answers"}},
		"UDP blocked":           {Report{Portal: Portal{State: "none"}}, natpunch.FamilyStatus{}, "blocked", "local", []string{"UDP to the internet is blocked"}},
		"blocked, maps nothing": {Report{Portal: Portal{State: "none"}, Gateways: gateway("", false)}, natpunch.FamilyStatus{}, "blocked", "local", []string{"Ask who runs the network to allow UDP."}},
		"no network":            {Report{Portal: Portal{State: "unreachable"}}, natpunch.FamilyStatus{}, "offline", "local", []string{"no way to the internet"}},
		"offline":               {Report{Portal: Portal{State: "unreachable"}, IPv4: Family{Source: netip.MustParseAddr("192.168.1.10")}}, natpunch.FamilyStatus{}, "offline", "local", []string{"Nothing on the internet answers"}},
		"login":                 {Report{Portal: Portal{State: "captive"}}, natpunch.FamilyStatus{}, "unknown", "unknown", []string{"log in first"}},
		"public":                {Report{}, open, "open", "all", []string{"every host can reach this one directly"}},
		"firewall":              {Report{}, firewall, "open", "most", []string{"a firewall drops"}},
		"keeps ports":           {Report{}, nat(natpunch.EndpointIndependent, natpunch.AddressDependent), "open", "most", []string{"keeps one port"}},
		"keeps ports, filters":  {Report{}, nat(natpunch.EndpointIndependent, natpunch.AddressAndPortDependent), "open", "most", []string{"many tries"}},
		"random":                {Report{}, nat(natpunch.AddressAndPortDependent, natpunch.AddressAndPortDependent), "open", "some", []string{"at random:", "port mapping"}},
		"sequential":            {Report{}, sequential, "open", "some", []string{"counting down by 2"}},
		"block":                 {Report{}, block, "open", "some", []string{"out of 40000 to 40999"}},
		"short":                 {Report{}, short, "open", "most", []string{"does not hairpin", "after little more than 15s"}},
		"unmeasured":            {Report{}, unmeasured, "open", "most", []string{"Over IPv4 the lifetime is unknown: so it is."}},
		"mapped":                {Report{Gateways: gateway("9.9.9.9", true)}, nat(natpunch.AddressAndPortDependent, 0), "open", "all", []string{"maps ports by PCP: every host"}},
		"mapped in vain":        {Report{Gateways: gateway("100.64.1.2", true)}, nat(natpunch.AddressAndPortDependent, 0), "open", "some", []string{"another NAT above"}},
		"mapped elsewhere":      {Report{Gateways: gateway("9.9.9.8", true)}, nat(natpunch.AddressAndPortDependent, 0), "open", "some", []string{"another NAT above"}},
		"maps nothing":          {Report{Gateways: gateway("", false)}, nat(natpunch.EndpointIndependent, 0), "open", "most", []string{"maps no ports"}},
		"by an exit node":       {Report{IPv4: Family{Tunnel: "credant0"}, Gateways: gateway("9.9.9.9", true)}, open, "open", "unknown", []string{"through credant0", "sudo credant netcheck"}},
		"NAT64":                 {Report{NAT64: netip.MustParsePrefix("64:ff9b::/96")}, natpunch.FamilyStatus{}, "unknown", "unknown", []string{"NAT64, under 64:ff9b::/96"}},
		"narrow":                {Report{IPv4: Family{MTU: 1280}}, nat(natpunch.EndpointIndependent, 0), "open", "most", []string{"limited to 1280 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := tt.report
			r.IPv4.take(tt.v4)
			r.conclude()
			if r.UDP != tt.udp || r.Direct != tt.direct {
				t.Errorf("UDP %s, direct %s; want %s, %s", r.UDP, r.Direct, tt.udp, tt.direct)
			}
			all := strings.Join(r.Meaning, "\n")
			for _, s := range tt.says {
				if !strings.Contains(all, s) {
					t.Errorf("does not say %q, but:\n%s", s, all)
				}
			}
			if r.UDP != "open" && strings.Contains(all, "every host") {
				t.Errorf("promises paths that UDP would be needed for:\n%s", all)
			}
			for _, m := range r.Meaning {
				if !strings.HasSuffix(m, ".") {
					t.Errorf("no sentence: %q", m)
				}
			}
		})
	}
}
