package wgsetup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Clean takes away what a daemon left of a network: the link with its mark,
// which takes addresses, routes and peers along, and the nftables tables with
// its name. That nothing is left is no error.
func Clean(network string) error {
	h, err := openHost()
	if err != nil {
		return err
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().Alias == alias(network) {
			errs = append(errs, h.remove(l.Attrs().Name))
		}
	}
	return errors.Join(append(errs, cleanTables(network))...)
}

func cleanTables(network string) error {
	nft, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := nft.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		// Without nf_tables there is no table of ours.
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return fmt.Errorf("list nftables tables: %w", err)
	}
	var errs []error
	for _, t := range tables {
		if !strings.HasPrefix(t.Name, tablePrefix(network)) {
			continue
		}
		nft.DelTable(t)
		if err := nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove nftables table %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}
