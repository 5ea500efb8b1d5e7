package wgsetup

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nft"
)

// SetKept makes these all the ports that are kept. Setting the same again does
// nothing; in the kernel a change takes tens of milliseconds. Kept ports outlive
// Detach and a crash of the process with the kernel backend, and end with
// Remove and Clean. Sockets are opened in the network namespace of its caller.
func (d *Device) SetKept(all []Kept) error {
	kept, err := normalizeKept(all)
	if err != nil {
		return err
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	err = ErrClosed
	if !closed {
		// Without the mutex, so that other peers' endpoints need not wait.
		err = d.backend.setKept(kept, &d.held)
	}
	if err == nil && d.backend.kind() == Embedded {
		err = d.routeKept()
	}
	if len(kept) == 0 && errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// routeKept makes the underlay's routes those of ports that are sockets of their
// own, too.
func (d *Device) routeKept() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.target.desired.Underlay) == 0 {
		return nil
	}
	_, err := d.reconcile()
	return err
}

// Kept returns the ports that are kept: what SetKept set last, or what Open
// found with the device that it adopted.
func (d *Device) Kept() []Kept { return d.backend.kept() }

// kernelKept are an nftables table, which is there while any port is kept, and
// outlives the process.
type kernelKept struct {
	table *nft.Table
	iface string
	log   *slog.Logger

	mu     sync.Mutex
	port   uint16 // WireGuard's
	set    []Kept
	known  bool // set is what the table has
	closed bool
}

// openKernelKept finds what another process kept.
func openKernelKept(table, iface string, port uint16, log *slog.Logger) (*kernelKept, error) {
	t, err := nft.OpenLasting(table, log)
	if err != nil {
		return nil, err
	}
	k := &kernelKept{table: t, iface: iface, log: log, port: port}
	elements, err := t.Maps()
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	for _, e := range elements {
		if one, ok := parseKept(e); ok {
			k.set = append(k.set, one)
		}
	}
	if k.set, err = normalizeKept(k.set); err != nil {
		// Nothing of ours: nobody else can know what it means.
		log.Warn("nftables table not understood: taken for empty", "table", table, "err", err)
		k.set = nil
	}
	return k, nil
}

func (k *kernelKept) run(ctx context.Context) error { return k.table.Run(ctx) }

// close leaves the table.
func (k *kernelKept) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return k.table.Close()
}

func (k *kernelKept) all() []Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.set)
}

// setAll expects them normalized.
func (k *kernelKept) setAll(all []Kept, held *heldPorts) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known && slices.Equal(all, k.set) {
		return nil
	}
	if err := k.apply(all); err != nil {
		return err
	}
	// The rules come first: there is no moment in which what arrives finds
	// neither them nor the socket that Keep took. They do their work without
	// it, too.
	if err := held.only(keptPorts(all)); err != nil {
		k.log.Warn("kept port is not held: another program can take it", "iface", k.iface, "err", err)
	}
	return nil
}

func keptPorts(all []Kept) []uint16 {
	ports := make([]uint16, len(all))
	for i, k := range all {
		ports[i] = k.Port
	}
	return ports
}

// setPort follows WireGuard to another port.
func (k *kernelKept) setPort(port uint16) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if port == k.port {
		return nil
	}
	k.port = port
	return k.apply(k.set)
}

func (k *kernelKept) apply(all []Kept) error {
	if k.closed {
		return ErrClosed
	}
	k.known = false // until it has worked: the next call tries again
	if err := k.table.Set(keptChains(all, k.iface, k.port)); err != nil {
		return err
	}
	k.set, k.known = all, true
	return nil
}

// removeKept removes what a kernel device kept, for one that is not adopted.
func removeKept(network, iface string) error {
	err := nft.Remove(tableName(network, iface, keptPurpose))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // without nf_tables there is no table of ours
	}
	return err
}

// parseKept reads an element of the output chain's map.
func parseKept(e nftables.SetElement) (Kept, bool) {
	const port = 4 // a port in a register of its own
	addr, ok := netip.AddrFromSlice(e.Key[:max(0, len(e.Key)-port)])
	if !ok || len(e.Val) < 2 {
		return Kept{}, false
	}
	remote := binary.BigEndian.Uint16(e.Key[len(e.Key)-port:])
	return Kept{Remote: netip.AddrPortFrom(addr, remote), Port: binary.BigEndian.Uint16(e.Val)}, true
}
