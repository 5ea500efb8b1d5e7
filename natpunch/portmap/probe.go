package portmap

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// probeFor bounds a Probe.
const probeFor = 4 * time.Second

// Probe asks a gateway which protocols it speaks and leaves nothing behind. It takes four seconds at most, and that
// only where the gateway is silent. By PCP nobody tells an address without a mapping: a port of its own is mapped for a
// moment.
func Probe(ctx context.Context, g Gateway) Report {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	g.Local, g.Addr = g.Local.Unmap().WithZone(""), g.Addr.Unmap().WithZone("")
	report := Report{Gateway: g.Addr, Iface: g.Iface, Local: g.Local}
	var mu sync.Mutex
	add := func(r ...ProtocolReport) {
		mu.Lock()
		defer mu.Unlock()
		report.Protocols = mergeReports(report.Protocols, r...)
	}
	var asking sync.WaitGroup
	asking.Go(func() { add(probePCP(ctx, g)) })
	if g.Addr.Is4() {
		asking.Go(func() {
			external, _, err := natPMP{g}.external(ctx)
			r := ProtocolReport{Protocol: NATPMP, Spoken: spoke(err), External: external}
			r.Detail, r.Error = offer(external, err)
			add(r)
		})
		asking.Go(func() {
			services, err := discoverIGD(ctx, g)
			reports := igdReports(services, err)
			for i := range reports {
				if reports[i].Error == "" {
					reports[i].Detail, _ = offer(reports[i].External, nil)
				}
			}
			add(reports...)
		})
	}
	asking.Wait()
	return report
}

// offer says what a gateway with such an address can do.
func offer(external netip.Addr, err error) (detail, fault string) {
	switch {
	case err != nil:
		return "", err.Error()
	case external.Is6():
		return "opens its firewall", ""
	case global(external):
		return "offers ports of " + external.String(), ""
	case external.IsValid():
		return "offers ports of " + external.String() + ", which is no public address: another NAT is above it", ""
	}
	return "offers ports, but does not know its address", ""
}

func probePCP(ctx context.Context, g Gateway) ProtocolReport {
	report := ProtocolReport{Protocol: PCP}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0)))
	if err != nil {
		report.Error = err.Error()
		return report
	}
	defer func() { _ = conn.Close() }()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	m := pcp.Map{Internal: port, External: netip.AddrPortFrom(netip.Addr{}, port), Lifetime: 2 * time.Minute}
	_, _ = rand.Read(m.Nonce[:])
	r, err := askPCP(ctx, g, m)
	report.Spoken = spoke(err)
	if err == nil {
		if a := r.External.Addr(); !a.IsUnspecified() {
			report.External = a
		}
		m.Lifetime, m.External = 0, netip.AddrPort{}
		// A deletion that is lost leaves two minutes of a mapping to a closed port.
		done, cancel := context.WithTimeout(context.WithoutCancel(ctx), usualPace.giveBack)
		defer cancel()
		_, _ = askPCP(done, g, m)
	}
	report.Detail, report.Error = offer(report.External, err)
	return report
}
