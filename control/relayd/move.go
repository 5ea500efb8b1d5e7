package relayd

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// settleChange is how long after a first change the host is looked at: one seldom
// comes alone.
const settleChange = 500 * time.Millisecond

// followAddresses serves on the addresses that the host has, as they come and go.
func (d *daemon) followAddresses(ctx context.Context) error {
	served := d.locals // the loop changes them for nobody else
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.watch.changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleChange):
		}
		select { // what came meanwhile is seen now
		case <-d.watch.changed:
		default:
		}
		all, err := hostAddresses()
		if err != nil {
			d.log.Warn("look at the host's addresses", "err", err)
			continue
		}
		next := choose(all, routedAddresses(), served)
		d.inLoop(ctx, func() {
			d.move(ctx, time.Now(), next)
			served = d.locals
		})
	}
}

// move serves on other addresses. Pairs that need none of those that have gone are
// not touched.
func (d *daemon) move(ctx context.Context, now time.Time, next choice) {
	if sameSet(next.serve, d.locals) && sameSet(next.tell, d.told) {
		return
	}
	var failed []netip.Addr
	for _, a := range without(next.serve, d.locals) {
		if err := d.serveAlso(ctx, a); err != nil {
			d.log.Warn("serve on another address", "addr", a.String(), "err", err)
			failed = append(failed, a)
		}
	}
	next.serve, next.tell = without(next.serve, failed), without(next.tell, failed)
	if len(next.tell) == 0 {
		return // what there was is as good
	}
	gone := without(d.locals, next.serve)
	d.engine.Move(now, outerAddresses(d.outer, next.tell), gone)
	d.perform(now)
	d.fronts.stun.SetAddrs(next.serve)
	if d.dht != nil {
		d.dht.move(next.serve)
	}
	if err := d.forwarder.Serve(next.serve); err != nil {
		d.log.Warn("serve on other addresses", "err", err)
	}
	for _, a := range gone {
		d.fronts.abandon(a)
	}
	d.locals, d.told, d.info.Unused = next.serve, next.tell, next.left
	d.fillInfo()
	d.info.Moved = true
	d.announced.give(d.info.Give)
	if d.dht != nil {
		d.dht.kick()
	}
	d.log.Info("the host's addresses have changed", "relay", d.info.Give[0].String(), "addresses", join(d.locals, " "), "gone", join(gone, " "))
	if d.ready != nil {
		d.ready(d.info)
	}
}

// serveAlso opens all ports on one more address, or none.
func (d *daemon) serveAlso(ctx context.Context, a netip.Addr) error {
	if err := d.fronts.open(ctx, a); err != nil {
		return err
	}
	if err := d.forwarder.Serve(append(slices.Clone(d.locals), a)); err != nil {
		d.fronts.abandon(a)
		return err
	}
	d.locals = append(slices.Clone(d.locals), a)
	return nil
}

// without is what of a list is not in another.
func without(list, other []netip.Addr) (rest []netip.Addr) {
	for _, a := range list {
		if !slices.Contains(other, a) {
			rest = append(rest, a)
		}
	}
	return rest
}
