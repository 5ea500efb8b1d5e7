package portmap

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// A worker keeps the mapping on one gateway.
type worker struct {
	mapper  *Mapper
	gateway Gateway
	kicked  chan struct{}
	nonce   pcp.Nonce
	keeper  keeper // run's alone
	igd     *igd   // the service that holds the mapping; run's alone

	epochs struct {
		sync.Mutex
		pcp, natpmp pcp.Epoch
		external    netip.Addr // NAT-PMP's
	}

	// The mapper's mutex guards these.
	held    *grant
	reports []ProtocolReport
}

func newWorker(m *Mapper, g Gateway) *worker {
	return &worker{mapper: m, gateway: g, kicked: make(chan struct{}, 1), keeper: keeper{pace: m.pace}}
}

// lookAnew has the mapping verified soon.
func (w *worker) lookAnew() {
	select {
	case w.kicked <- struct{}{}:
	default:
	}
}

// run keeps the mapping until ctx ends, then gives it back.
func (w *worker) run(ctx context.Context) {
	var listening sync.WaitGroup
	listening.Go(func() { w.listen(ctx) })
	defer listening.Wait()
	defer func() {
		if leave := w.mapper.config.Leave; leave == nil || !leave(context.Cause(ctx)) {
			w.giveBack()
		}
	}()

	lease := w.mapper.lease(w.gateway)
	w.nonce = lease.nonce()
	if port := w.mapper.config.Port(); lease.Protocol != "" && lease.Internal != port {
		// Another port was mapped, and this program did not come to its end.
		w.release(ctx, lease)
	}
	verify := false
	for ctx.Err() == nil {
		w.round(ctx, verify)
		verify = false
		for wait := true; wait; {
			timer := time.NewTimer(time.Until(w.keeper.next))
			select {
			case <-ctx.Done():
				wait = false
			case <-timer.C:
				wait = false
			case <-w.kicked:
				w.keeper.kick(time.Now())
				verify = true
			}
			timer.Stop()
		}
	}
}

// round renews the mapping or asks for one. verify says that there is reason to think that it is gone.
func (w *worker) round(ctx context.Context, verify bool) {
	port := w.mapper.config.Port()
	held := w.holds()
	if held != nil && held.internal != port {
		w.release(ctx, w.mapper.lease(w.gateway))
		w.set(nil)
		held = nil
	}
	if port == 0 {
		w.keeper.failed(time.Now(), 0)
		return
	}
	if held != nil {
		g, err := w.renew(ctx, *held)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.granted(ctx, now, g)
			return
		case !verify && !spoke(err) && !held.protocol.upnp() && now.Before(w.keeper.expires):
			w.keeper.unanswered(now)
			return
		}
		w.mapper.log.Debug("renew port mapping", "addr", w.gateway.Addr, "err", err)
	}
	g, err := w.askAll(ctx, port)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		w.granted(ctx, time.Now(), g)
	default:
		w.mapper.log.Debug("no port mapping", "addr", w.gateway.Addr, "err", err)
		w.set(nil)
		w.keeper.failed(time.Now(), leaveAlone(err))
	}
}

func (w *worker) holds() *grant {
	w.mapper.mu.Lock()
	defer w.mapper.mu.Unlock()
	return w.held
}

// granted takes in a mapping.
func (w *worker) granted(ctx context.Context, now time.Time, g grant) {
	g.at = now
	w.keeper.granted(now, g)
	// One made in another protocol may last for good. Where both are on one port, deleting one deletes both.
	if old := w.mapper.lease(w.gateway); old.Protocol.upnp() && !g.protocol.upnp() && old.External != g.external.Port() {
		w.release(ctx, old)
	}
	w.mapper.keep(Lease{
		Gateway: w.gateway.Addr, Local: w.gateway.Local, Internal: g.internal, External: g.external.Port(),
		Nonce: w.nonce[:], Protocol: g.protocol,
	})
	w.set(&g)
}

// set shows what is mapped now.
func (w *worker) set(g *grant) {
	w.mapper.mu.Lock()
	before := w.held
	w.held = g
	w.mapper.mu.Unlock()
	switch {
	case g == nil && before == nil || g != nil && before != nil && g.same(*before):
		return
	case g == nil:
		w.mapper.log.Info("port mapping lost", "addr", before.external, "iface", w.gateway.Iface)
	default:
		w.mapper.log.Info("port mapped", "addr", g.external, "iface", w.gateway.Iface, "protocol", g.protocol)
	}
	w.mapper.tell()
}

// renew asks for the mapping once more, in the protocol that it was made in.
func (w *worker) renew(ctx context.Context, held grant) (grant, error) {
	switch held.protocol {
	case PCP:
		return w.mapPCP(ctx, held.internal, held.external)
	case NATPMP:
		return w.mapNATPMP(ctx, held.internal, held.external.Port())
	}
	if w.igd == nil {
		return grant{}, errSilent
	}
	g, err := w.igd.renew(ctx, held, randomPort)
	if err == nil {
		w.report(igdReport(w.igd, &g, nil))
	}
	return g, err
}

func randomPort() uint16 { return highPort(rand.Uint32()) }

// mapPCP makes or renews a mapping by PCP.
func (w *worker) mapPCP(ctx context.Context, internal uint16, suggested netip.AddrPort) (grant, error) {
	r, err := askPCP(ctx, w.gateway, pcp.Map{Nonce: w.nonce, Internal: internal, External: suggested, Lifetime: wantedLifetime})
	if spoke(err) {
		w.epochs.Lock()
		w.epochs.pcp.Observe(time.Now(), r.Epoch)
		w.epochs.Unlock()
	}
	if err != nil {
		if ctx.Err() != nil { // another protocol works
			err = errSilent
		}
		w.report(ProtocolReport{Protocol: PCP, Spoken: spoke(err), Error: err.Error()})
		return grant{}, err
	}
	g := grant{protocol: PCP, internal: internal, external: r.External, lifetime: min(r.Lifetime, maxLifetime)}
	if g.external.Addr().IsUnspecified() {
		g.external = netip.AddrPortFrom(netip.Addr{}, g.external.Port())
	}
	w.report(ProtocolReport{Protocol: PCP, Spoken: true, External: g.external.Addr(), Detail: g.words()})
	return g, nil
}

// mapNATPMP makes or renews a mapping by NAT-PMP.
func (w *worker) mapNATPMP(ctx context.Context, internal, suggested uint16) (grant, error) {
	external, err := w.externalNATPMP(ctx)
	if err != nil {
		return grant{}, err
	}
	g, epoch, err := natPMP{w.gateway}.add(ctx, internal, suggested, wantedLifetime)
	if err != nil {
		w.report(ProtocolReport{Protocol: NATPMP, Spoken: true, External: external, Error: err.Error()})
		return grant{}, err
	}
	w.epochs.Lock()
	w.epochs.natpmp.ObserveNATPMP(time.Now(), epoch)
	w.epochs.Unlock()
	g.external = netip.AddrPortFrom(external, g.external.Port())
	w.report(ProtocolReport{Protocol: NATPMP, Spoken: true, External: external, Detail: g.words()})
	return g, nil
}

// externalNATPMP asks for the gateway's address by NAT-PMP, and so whether it speaks that.
func (w *worker) externalNATPMP(ctx context.Context) (netip.Addr, error) {
	external, epoch, err := natPMP{w.gateway}.external(ctx)
	if err != nil {
		w.report(ProtocolReport{Protocol: NATPMP, Spoken: spoke(err), Error: err.Error()})
		return netip.Addr{}, err
	}
	w.epochs.Lock()
	w.epochs.natpmp.ObserveNATPMP(time.Now(), epoch)
	w.epochs.external = external
	w.epochs.Unlock()
	w.report(ProtocolReport{Protocol: NATPMP, Spoken: true, External: external, Detail: "spoken"})
	return external, nil
}

// giveBack deletes the mapping at the end. The lease is kept: the same port is asked for next time.
func (w *worker) giveBack() {
	lease := w.mapper.lease(w.gateway)
	if lease.Protocol == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.mapper.pace.giveBack)
	defer cancel()
	w.release(ctx, lease)
	w.mapper.mu.Lock()
	w.held = nil
	w.mapper.mu.Unlock()
}

// release deletes what a lease says.
func (w *worker) release(ctx context.Context, l Lease) {
	var err error
	switch {
	case l.Protocol == PCP:
		_, err = askPCP(ctx, w.gateway, pcp.Map{Nonce: l.nonce(), Internal: l.Internal})
	case l.Protocol == NATPMP:
		_, _, err = natPMP{w.gateway}.add(ctx, l.Internal, 0, 0)
	case l.Protocol.upnp():
		service := w.igd
		if service == nil {
			var services []*igd
			if services, err = discoverIGD(ctx, w.gateway); err == nil {
				service = services[0]
			}
		}
		if service != nil {
			err = service.remove(ctx, l.External)
		}
	}
	if err != nil {
		w.mapper.log.Debug("give back port mapping", "addr", w.gateway.Addr, "err", err)
		return
	}
	l.Protocol = ""
	w.mapper.keep(l)
}
