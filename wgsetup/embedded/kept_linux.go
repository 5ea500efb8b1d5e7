package embedded

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/pollset"
)

// SetKept makes each value the port that datagrams for the key leave from,
// WireGuard's and the side port's, and at which such from there are read; from
// others nothing is. Only the last call counts, for as long as the Bind lives;
// sockets are opened in the network namespace of the caller. A port that
// somebody else has is an error, and what it was for leaves from WireGuard's.
func (b *Bind) SetKept(all map[netip.AddrPort]uint16) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep = all
	return b.openKept()
}

// openKept opens and closes what differs. A closed Bind has none.
func (b *Bind) openKept() error {
	ways := make(map[netip.AddrPort]*socket)
	var unused []*socket
	var errs []error
	for _, in := range b.inlets {
		old, err := in.keep(b.keep, b.mark, ways)
		unused = append(unused, old...)
		errs = append(errs, err)
	}
	if len(ways) == 0 {
		b.ways.Store(nil)
	} else {
		b.ways.Store(&ways)
	}
	for _, s := range unused {
		errs = append(errs, s.udp.Close())
	}
	return errors.Join(errs...)
}

// keptSocket is a socket that hears some remotes only.
type keptSocket struct {
	*socket
	remotes map[netip.AddrPort]bool
}

// keptSockets are a family's, and what waits for all of them and WireGuard's
// own. All but the set is never changed, only replaced.
type keptSockets struct {
	set    *pollset.Set
	byPort map[uint16]keptSocket
}

// inlet is what one receiver reads: a family's socket of WireGuard and, while
// there are any, those of kept ports. A receiver each, which is what
// wireguard-go offers, would cost 8 MB each.
type inlet struct {
	own   *socket
	ipv4  bool
	kept  atomic.Pointer[keptSockets] // nil: none
	ready []uint32                    // the receiver's: ports that wait to be read
}

// keep makes the inlet read what there is to keep, adds to ways how it is
// reached and returns the sockets that are of no use any more.
func (in *inlet) keep(all map[netip.AddrPort]uint16, mark uint32, ways map[netip.AddrPort]*socket) (unused []*socket, err error) {
	old := in.kept.Load()
	if old == nil {
		old = &keptSockets{}
	}
	next := &keptSockets{set: old.set, byPort: make(map[uint16]keptSocket)}
	var errs []error
	var fresh []*socket
	for remote, port := range all {
		if remote.Addr().Is4() != in.ipv4 || port == in.own.port {
			continue
		}
		k, ok := next.byPort[port]
		if !ok {
			k = keptSocket{socket: old.byPort[port].socket, remotes: make(map[netip.AddrPort]bool)}
			if k.socket == nil {
				if k.socket, err = in.open(port, mark); err != nil {
					errs = append(errs, fmt.Errorf("keep port %d: %w", port, err))
					continue
				}
				fresh = append(fresh, k.socket)
			}
			next.byPort[port] = k
		}
		k.remotes[remote] = true
		ways[remote] = k.socket
	}
	for port, k := range old.byPort {
		if next.byPort[port].socket == nil {
			unused = append(unused, k.socket)
		}
	}
	if len(next.byPort) == 0 {
		in.kept.Store(nil)
		if old.set != nil {
			errs = append(errs, old.set.Close())
		}
		return unused, errors.Join(errs...)
	}
	if next.set == nil {
		if next.set, err = pollset.New(); err != nil {
			for _, s := range fresh {
				s.udp.Close()
			}
			maps.DeleteFunc(ways, func(_ netip.AddrPort, s *socket) bool { return slices.Contains(fresh, s) })
			return unused, errors.Join(append(errs, err)...)
		}
		fresh = append(fresh, in.own)
	}
	in.kept.Store(next)
	for _, s := range fresh {
		errs = append(errs, s.control(func(fd int) error { return next.set.Add(fd, uint32(s.port)) }))
	}
	if old.set == nil {
		// The receiver is waiting for its own socket alone.
		errs = append(errs, in.own.udp.SetReadDeadline(time.Unix(1, 0)))
	}
	return unused, errors.Join(errs...)
}

func (in *inlet) open(port uint16, mark uint32) (*socket, error) {
	network := "udp6"
	if in.ipv4 {
		network = "udp4"
	}
	s, err := newSocket(network, port, in.own.errs)
	if err != nil {
		return nil, err
	}
	if err := s.setMark(mark); err != nil {
		return nil, errors.Join(err, s.udp.Close())
	}
	return s, nil
}

func (in *inlet) setMark(mark uint32) error {
	errs := []error{in.own.setMark(mark)}
	if kept := in.kept.Load(); kept != nil {
		for _, k := range kept.byPort {
			errs = append(errs, k.setMark(mark))
		}
	}
	return errors.Join(errs...)
}

// close closes the sockets, WireGuard's first: then the receiver, which the
// set's end wakes, finds it closed.
func (in *inlet) close() error {
	errs := []error{in.own.udp.Close()}
	if old := in.kept.Swap(nil); old != nil {
		errs = append(errs, old.set.Close())
		for _, k := range old.byPort {
			errs = append(errs, k.udp.Close())
		}
	}
	return errors.Join(errs...)
}

// next returns the socket to read now, with flags for that, and whom it hears:
// nil for everybody. While no port is kept, reading is what waits.
func (in *inlet) next() (s *socket, flags int, remotes map[netip.AddrPort]bool) {
	for {
		kept := in.kept.Load()
		if kept == nil {
			in.ready = in.ready[:0]
			return in.own, 0, nil
		}
		if len(in.ready) == 0 {
			var err error
			if in.ready, err = kept.set.Wait(in.ready); err != nil {
				if in.kept.Load() == kept {
					return in.own, 0, nil // never: better deaf to kept ports than to all
				}
				continue
			}
		}
		last := len(in.ready) - 1
		port := uint16(in.ready[last])
		in.ready = in.ready[:last]
		if port == in.own.port {
			return in.own, unix.MSG_DONTWAIT, nil
		}
		if k, ok := kept.byPort[port]; ok {
			return k.socket, unix.MSG_DONTWAIT, k.remotes
		}
	}
}

// passes says whether reading may go on after an error: there was nothing to
// read in a set's socket, one that was kept is no more, or keep interrupted the
// wait for WireGuard's own alone.
func (in *inlet) passes(s *socket, err error) bool {
	var timeout interface{ Timeout() bool }
	switch {
	case s != in.own, errors.Is(err, syscall.EAGAIN):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return in.own.udp.SetReadDeadline(time.Time{}) == nil
	}
	return false
}
