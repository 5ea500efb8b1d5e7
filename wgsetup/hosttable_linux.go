package wgsetup

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/firewall"
	"github.com/credant/credant/wgsetup/internal/nft"
)

// hostTableName names the table for Forward and Exit. It is the network's, and
// not a device's, so that one of another name finds the record.
func hostTableName(network string) string { return tablePrefix(network) + hostPurpose }

const hostPurpose = "host"

// hostSide is what Forward and Exit change of the host besides routes. The
// Device's mutex guards it.
type hostSide struct {
	make   func(name string, log *slog.Logger) (*nft.Table, error)
	table  *nft.Table // nil: not opened
	opened chan *nft.Table
	asked  bool // whether something was left has been looked for
	record record
	set    string // what the table has, as text; "" is not known
	advice []string
}

// applyHost makes settings and the table what is wanted. What cannot be had is
// advice to a person and no error, which would keep the network down: without
// its table nothing is forwarded, and with an exit nothing leaves.
func (d *Device) applyHost() (done []Step) {
	want := d.target.desired
	s := &d.hosting
	if want.Forward == nil && want.Exit == nil && s.table == nil && s.asked {
		s.advice = nil
		d.openings.set(nil)
		return nil
	}
	var err error
	inErr := d.host.inNamespace(func() {
		done, err = s.apply(d, want)
		if err != nil && want.Forward != nil {
			// All of it or nothing.
			without := want
			without.Forward = nil
			undone, undoErr := s.apply(d, without)
			done, err = append(done, undone...), errors.Join(err, undoErr)
		}
	})
	err = errors.Join(inErr, err)
	var opening *firewall.Opening
	if err == nil {
		opening = d.target.opening(d.config.Network, d.host.linksTo)
	}
	d.openings.set(opening)
	s.advise(d, err)
	return done
}

func (s *hostSide) apply(d *Device, want Desired) (done []Step, err error) {
	if err := s.open(d); err != nil || s.table == nil {
		if want.Forward == nil && (want.Exit == nil || !strictFilter()) {
			return nil, nil // what the table is for does not matter here
		}
		return nil, err
	}
	links, err := d.host.hostLinks(d.target.iface)
	if err != nil {
		return nil, err
	}
	others := once(func() ([]record, error) { return otherRecords(d.config.Network) })
	p := planHost(want, s.record, links, readSetting, func(path string) (string, bool) { return shared(others(), path) })
	rules := hostRules{iface: d.target.iface, port: d.target.port, forward: want.Forward, exit: want.Exit != nil, record: p.record}
	rules.sources = normalize(want.Routes, true, nil)
	put := func() error {
		text := rules.text()
		if text == s.set {
			return nil
		}
		s.set = "" // until it has worked
		if err := s.table.Set(rules.chains()); err != nil {
			return err
		}
		s.set, s.record = text, rules.record
		done = append(done, Step{op: setHostTable, iface: d.target.iface, alias: hostTableName(d.config.Network)})
		return nil
	}
	if err := put(); err != nil {
		return done, fmt.Errorf("set nftables table: %w", err)
	}
	var errs []error
	for i, w := range slices.Concat(p.set, p.back) {
		step := Step{op: setSetting, iface: d.target.iface, setting: w}
		switch err := writeSetting(w); {
		case err == nil:
			done = append(done, step)
		case i < len(p.set):
			return done, fmt.Errorf("%s: %w", step, err)
		default:
			errs = append(errs, fmt.Errorf("%s: %w", step, err))
		}
	}
	rules.record = p.after
	return done, errors.Join(append(errs, put())...)
}

// open opens the table if there is one or has to be.
func (s *hostSide) open(d *Device) error {
	if s.table != nil {
		return nil
	}
	t, err := s.make(hostTableName(d.config.Network), d.log)
	if err != nil {
		s.asked = true
		return fmt.Errorf("open nftables: %w", err)
	}
	names, err := t.Chains()
	if want := d.target.desired; err != nil || len(names) == 0 && want.Forward == nil && want.Exit == nil {
		s.asked = true
		return errors.Join(err, t.Close())
	}
	s.table, s.record = t, parseRecord(names)
	if len(names) > 0 {
		d.openings.left()
	}
	s.opened <- t
	return nil
}

// close leaves the table.
func (s *hostSide) close() error {
	if s.table == nil {
		return nil
	}
	return s.table.Close()
}

func (r hostRules) text() string {
	var forward Forward
	if r.forward != nil {
		forward = *r.forward
	}
	return fmt.Sprint(r.iface, r.port, r.sources, r.forward != nil, forward, r.exit, r.record.names())
}

// hostLinks returns the links that are not ours, nor of containers.
func (h *host) hostLinks(iface string) (out hostLinks, err error) {
	links, err := h.links()
	if err != nil {
		return out, err
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == iface || a.Name == "lo" || marked(a.Alias) {
			continue
		}
		switch {
		case l.Type() == "bridge":
			out.bridges = append(out.bridges, a.Name)
		case a.MasterIndex == 0 || l.Type() != "veth":
			out.plain = append(out.plain, a.Name)
		}
	}
	slices.Sort(out.plain)
	slices.Sort(out.bridges)
	return out, nil
}

// otherRecords are those of other networks.
func otherRecords(network string) (all []record, err error) {
	byTable, err := hostTables()
	if err != nil {
		return nil, err
	}
	for name, chains := range byTable {
		if name != hostTableName(network) {
			all = append(all, parseRecord(chains))
		}
	}
	return all, nil
}

// hostTables returns the chains of all networks' tables for Forward and Exit.
func hostTables() (map[string][]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil // without nf_tables there is no table of ours
	case err != nil:
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	byTable := make(map[string][]string)
	for _, c := range chains {
		parts := strings.Split(c.Table.Name, "_")
		if len(parts) == 3 && parts[0] == "credant" && parts[2] == hostPurpose {
			byTable[c.Table.Name] = append(byTable[c.Table.Name], c.Name)
		}
	}
	return byTable, nil
}

func shared(others []record, path string) (was string, ok bool) {
	for _, r := range others {
		if was, ok := r.was[path]; ok {
			return was, true
		}
	}
	return "", false
}

// once asks once; what cannot be known is nothing.
func once(ask func() ([]record, error)) func() []record {
	var known []record
	asked := false
	return func() []record {
		if !asked {
			asked = true
			known, _ = ask()
		}
		return known
	}
}

// cleanHost puts back what the table of a network records, for Clean, which
// removes the table.
func (h *host) cleanHost(network string) (removed []string, err error) {
	tables, err := hostTables()
	if err != nil {
		return nil, err
	}
	links, err := h.hostLinks("")
	if err != nil {
		return nil, err
	}
	var others []record
	for name, chains := range tables {
		if name != hostTableName(network) {
			others = append(others, parseRecord(chains))
		}
	}
	p := planHost(Desired{}, parseRecord(tables[hostTableName(network)]), links, readSetting,
		func(path string) (string, bool) { return shared(others, path) })
	var errs []error
	for _, w := range p.back {
		s := Step{op: setSetting, setting: w}
		if err := writeSetting(w); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		removed = append(removed, fmt.Sprintf("setting %s, put back to %s", w.name(), w.value))
	}
	return removed, errors.Join(errs...)
}
