package forward

import (
	"fmt"
	"net/netip"
	"slices"
)

// Open opens a port on every own address, or on none. Sockets belong to the
// network namespace of the thread that calls. A port that is open stays so.
func (f *Forwarder) Open(port uint16) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == ended {
		return fmt.Errorf("open relay port %d: %w", port, ErrEnded)
	}
	var all []place
	for i, addr := range f.addrs {
		if addr.IsValid() {
			all = append(all, place{i, netip.AddrPortFrom(addr, port)})
		}
	}
	if err := f.openAll(all); err != nil {
		return fmt.Errorf("open relay port %d: %w", port, err)
	}
	f.ports[port] = true
	return nil
}

// place is where a local is to be: its address's index, and what it listens on.
type place struct {
	index int
	at    netip.AddrPort
}

// openAll opens those that are not open yet, or none.
func (f *Forwarder) openAll(places []place) error {
	var opened []*local
	for _, p := range places {
		if f.locals[p.at] != nil {
			continue
		}
		l, err := openLocal(p.index, p.at, len(f.workers))
		if err == nil {
			opened = append(opened, l)
			err = f.adopt(l)
		}
		if err != nil {
			for _, l := range opened {
				f.closeLocal(l)
			}
			return err
		}
	}
	for _, l := range opened {
		f.locals[l.addr] = l
	}
	return nil
}

// adopt lets the workers read a local's sockets.
func (f *Forwarder) adopt(l *local) error {
	if f.state != running {
		return nil // Run will
	}
	for _, w := range f.workers {
		if err := w.do(func() error { return w.adopt(l) }); err != nil {
			return err
		}
	}
	return nil
}

// closeLocal has each worker close its own socket: nobody can then be sending
// from a descriptor that has become something else.
func (f *Forwarder) closeLocal(l *local) {
	for _, w := range f.workers {
		if f.state != running || w.do(func() error { w.abandon(l); return nil }) != nil {
			l.close(w.id)
		}
	}
}

// Close closes a port and removes the flows that are left on it.
func (f *Forwarder) Close(port uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ports, port)
	f.closeAll(func(at netip.AddrPort) bool { return at.Port() == port })
}

// closeAll closes the locals that are meant, and removes the flows that come in or
// go out there.
func (f *Forwarder) closeAll(meant func(netip.AddrPort) bool) {
	for k, flow := range f.flows.all() {
		if meant(flow.key.At) || meant(flow.target.Load().out.addr) {
			f.flows.remove(k)
		}
	}
	for at, l := range f.locals {
		if meant(at) {
			delete(f.locals, at)
			f.closeLocal(l)
		}
	}
}

// Serve makes addrs the own addresses. The ports that are open open on the new
// ones too, or nothing changes; those that are left out are closed with the flows
// that use them. Flows between addresses that stay are not touched.
func (f *Forwarder) Serve(addrs []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == ended {
		return fmt.Errorf("serve other addresses: %w", ErrEnded)
	}
	next := slices.Clone(f.addrs)
	var gone []netip.Addr
	for i, a := range next {
		if a.IsValid() && !slices.Contains(addrs, a) {
			gone = append(gone, a)
			next[i] = netip.Addr{}
		}
	}
	var fresh []place
	for _, a := range addrs {
		if slices.Contains(next, a) {
			continue
		}
		// A place that is given up in this call has flows until the end of it.
		i := len(next)
		for j, was := range f.addrs {
			if !was.IsValid() && !next[j].IsValid() {
				i = j
				break
			}
		}
		if i == len(next) {
			next = append(next, a)
		}
		next[i] = a
		for port := range f.ports {
			fresh = append(fresh, place{i, netip.AddrPortFrom(a, port)})
		}
	}
	if err := f.openAll(fresh); err != nil {
		return fmt.Errorf("open the relay ports on other addresses: %w", err)
	}
	f.addrs = next
	f.closeAll(func(at netip.AddrPort) bool { return slices.Contains(gone, at.Addr()) })
	return nil
}
