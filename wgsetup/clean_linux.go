package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/embedded"
	"github.com/credant/credant/wgsetup/firewall"
)

// Clean takes away what a daemon left of a network: the link with its mark,
// which takes addresses, routes and peers along, underlay routes, the nftables tables with its
// name, and the dead sockets of embedded devices. It returns what it removed,
// in words; that nothing is left is no error.
func Clean(network string) (removed []string, err error) {
	h, err := openHost()
	if err != nil {
		return nil, err
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().Alias != alias(network) {
			continue
		}
		if err := h.remove(l.Attrs().Name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "interface "+l.Attrs().Name)
	}
	ways, err := h.cleanUnderlay(tableOf(network))
	errs = append(errs, err)
	exit, err := h.cleanExit(exitTableOf(network))
	errs = append(errs, err)
	var settings []string
	inErr := h.inNamespace(func() { settings, err = h.cleanHost(network) })
	errs = append(errs, inErr, err)
	var openings []string
	inErr = h.inNamespace(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		openings, err = firewall.Host{}.Close(ctx, network)
	})
	errs = append(errs, inErr, err)
	tables, err := cleanTables(network)
	errs = append(errs, err)
	sockets, err := h.cleanSockets()
	errs = append(errs, err)
	return slices.Concat(removed, ways, exit, settings, openings, tables, sockets), errors.Join(errs...)
}

// cleanSockets removes the sockets that killed processes left of devices which
// Open named. They do not tell their network; nobody needs a dead one.
func (h *host) cleanSockets() (removed []string, err error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	paths, err := embedded.RemoveDeadUAPI(namePrefix, func(name string) bool {
		return slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == name })
	})
	for _, p := range paths {
		removed = append(removed, "socket "+p)
	}
	return removed, err
}

func cleanTables(network string) (removed []string, err error) {
	nft, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := nft.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		// Without nf_tables there is no table of ours.
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil
		}
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var errs []error
	for _, t := range tables {
		if !strings.HasPrefix(t.Name, tablePrefix(network)) {
			continue
		}
		nft.DelTable(t)
		if err := nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove nftables table %s: %w", t.Name, err))
			continue
		}
		removed = append(removed, "nftables table "+t.Name)
	}
	return removed, errors.Join(errs...)
}
