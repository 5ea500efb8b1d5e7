package portmap

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// An outcome is what came of a protocol.
type outcome struct {
	grant grant
	err   error
}

// askAll asks in all protocols side by side and takes the first that works. It returns when each has had its say, but
// shows the mapping before.
func (w *worker) askAll(ctx context.Context, port uint16) (grant, error) {
	suggested := cmp.Or(w.mapper.lease(w.gateway).External, port)
	var asking sync.WaitGroup
	defer asking.Wait()

	pcpCtx, stopPCP := context.WithCancel(ctx)
	defer stopPCP()
	pcpDone := make(chan outcome, 1)
	asking.Go(func() {
		g, err := w.mapPCP(pcpCtx, port, netip.AddrPortFrom(netip.Addr{}, suggested))
		pcpDone <- outcome{g, err}
	})
	if w.gateway.Addr.Is6() { // the others know nothing of IPv6
		o := <-pcpDone
		return o.grant, o.err
	}

	pmpDone, igdDone := make(chan error, 1), make(chan outcome, 1)
	asking.Go(func() {
		_, err := w.externalNATPMP(ctx)
		pmpDone <- err
	})
	var services []*igd
	asking.Go(func() {
		var err error
		services, err = discoverIGD(ctx, w.gateway)
		w.report(igdReports(services, err)...)
		igdDone <- outcome{err: err}
	})

	// The first error of a gateway that answered says most.
	var last error
	note := func(err error) {
		if last == nil || !spoke(last) && spoke(err) {
			last = err
		}
	}
	byPCP, pmp, upnp := pcpDone, pmpDone, igdDone // nil once received
	var pcpLate, pmpLate <-chan time.Time
	pmpAnswered := false
	take := func(g grant) (grant, error) {
		w.granted(ctx, time.Now(), g)
		return g, nil
	}
	for byPCP != nil || pmp != nil || pmpAnswered {
		if byPCP == nil && pmpAnswered {
			pmpAnswered = false
			g, err := w.mapNATPMP(ctx, port, suggested)
			if err == nil {
				return take(g)
			}
			note(err)
			continue
		}
		select {
		case o := <-byPCP:
			byPCP = nil
			if o.err == nil {
				return take(o.grant)
			}
			note(o.err)
		case err := <-pmp:
			pmp = nil
			if err != nil {
				note(err)
				continue
			}
			pmpAnswered, pcpLate = true, time.After(w.mapper.pace.lead)
		case o := <-upnp:
			upnp = nil
			if o.err == nil {
				pmpLate = time.After(w.mapper.pace.leadUPnP)
			} else {
				note(o.err)
			}
		case <-pcpLate:
			// NAT-PMP answers and PCP does not. No answer to it is wanted any more: there would be two mappings.
			stopPCP()
			pcpLate = nil
		case <-pmpLate:
			if !pmpAnswered {
				stopPCP()
				pmp, byPCP = nil, nil
			}
		}
	}
	if upnp != nil {
		if o := <-upnp; o.err != nil {
			note(o.err)
		}
	}
	for _, s := range services {
		if ctx.Err() != nil {
			break
		}
		g, err := s.add(ctx, port, suggested, randomPort)
		if err == nil {
			w.igd = s
			w.report(igdReport(s, &g, nil))
			return take(g)
		}
		w.mapper.log.Debug("map port by UPnP", "addr", w.gateway.Addr, "err", err)
		w.report(igdReport(s, nil, err))
		note(err)
	}
	return grant{}, last
}

// words says what a mapping does for people.
func (g grant) words() string {
	external := g.external.Addr()
	switch {
	case external.Is6():
		return fmt.Sprintf("lets UDP to port %d of this host in", g.external.Port())
	case global(external):
		return fmt.Sprintf("forwards UDP port %d of %v to this host", g.external.Port(), external)
	}
	return fmt.Sprintf("forwards UDP port %d, but has no public address: another NAT is above it", g.external.Port())
}

func igdReport(s *igd, g *grant, err error) ProtocolReport {
	r := ProtocolReport{Protocol: s.protocol(), Spoken: true, External: s.external, Detail: "spoken"}
	if g != nil {
		r.Detail = g.words()
	}
	if err != nil {
		r.Detail, r.Error = "", err.Error()
	}
	return r
}

// igdReports says of both versions of UPnP whether there is a service of theirs.
func igdReports(services []*igd, err error) []ProtocolReport {
	reports := make([]ProtocolReport, 0, 2)
	for _, p := range []Protocol{IGD2, IGD1} {
		r := ProtocolReport{Protocol: p}
		i := slices.IndexFunc(services, func(s *igd) bool { return s.protocol() == p })
		switch {
		case i >= 0:
			r = igdReport(services[i], nil, nil)
		case err != nil:
			r.Spoken, r.Error = spoke(err), err.Error()
		default:
			r.Error = "the gateway does not offer this version"
		}
		reports = append(reports, r)
	}
	return reports
}

// report shows what came of a protocol in place of what was shown of it before.
func (w *worker) report(reports ...ProtocolReport) {
	w.mapper.mu.Lock()
	defer w.mapper.mu.Unlock()
	w.reports = mergeReports(w.reports, reports...)
}

var protocolOrder = []Protocol{PCP, NATPMP, IGD2, IGD1}

func mergeReports(list []ProtocolReport, reports ...ProtocolReport) []ProtocolReport {
	for _, r := range reports {
		list = slices.DeleteFunc(slices.Clone(list), func(old ProtocolReport) bool { return old.Protocol == r.Protocol })
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b ProtocolReport) int {
		return cmp.Compare(slices.Index(protocolOrder, a.Protocol), slices.Index(protocolOrder, b.Protocol))
	})
	return list
}
