package wgsetup

import (
	"context"
	"fmt"
	"slices"
)

// Apply makes the device what is wanted and returns the steps that took; none
// if it was so already. Peers are never replaced as a whole: the sessions of
// those that stay live on. On an error, the steps that could be done are done.
func (d *Device) Apply(ctx context.Context, want Desired) ([]Step, error) {
	if err := want.check(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	own := d.target.key.PublicKey()
	for _, p := range want.Peers {
		if p.PublicKey == own {
			return nil, fmt.Errorf("apply: peer %s is this device itself", p.PublicKey)
		}
	}
	d.target.desired, d.applied = want.clone(), true
	if want.Exit != nil {
		d.target.mark = Mark
	}
	return d.reconcile()
}

// reconcile makes the host what the target says.
func (d *Device) reconcile() ([]Step, error) {
	a, err := d.read()
	if err != nil {
		return nil, err
	}
	if err := d.readUnderlay(&a); err != nil {
		return nil, err
	}
	if err := d.readExit(&a); err != nil {
		return nil, err
	}
	steps := plan(d.target, a)
	var done []Step
	// Marks come before the rules of an exit, and go after them.
	adding := d.target.desired.Exit != nil
	if adding {
		done = d.applyHost()
	}
	more, err := d.apply(steps)
	done = append(done, more...)
	if !adding {
		done = append(done, d.applyHost()...)
	}
	if err != nil {
		return done, err
	}
	d.mark = a.mark
	if d.target.mark != 0 {
		d.mark = d.target.mark
	}
	return done, d.backend.follow(d.target.port, d.mark)
}

func (d Desired) clone() Desired {
	d.Addresses = slices.Clone(d.Addresses)
	d.Routes = slices.Clone(d.Routes)
	d.Underlay = slices.Clone(d.Underlay)
	d.Subnets = slices.Clone(d.Subnets)
	if d.Forward != nil {
		d.Forward = &Forward{slices.Clone(d.Forward.Advertised), d.Forward.Exit}
	}
	if d.Exit != nil {
		d.Exit = &Exit{d.Exit.V4, d.Exit.V6, slices.Clone(d.Exit.Allow)}
	}
	d.Peers = slices.Clone(d.Peers)
	for i := range d.Peers {
		d.Peers[i].AllowedIPs = slices.Clone(d.Peers[i].AllowedIPs)
	}
	return d
}
