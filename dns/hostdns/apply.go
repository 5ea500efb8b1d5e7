package hostdns

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// apply makes the host use one way. It is in the record before it is on the
// host.
func (k *keeper) apply(ctx context.Context, c choice, owner string, entries []Entry) (changed bool, more int, err error) {
	r := k.record
	switch c.mode {
	case ModeResolved:
		r.Link = k.c.Interface
	case ModeResolvconf:
		r.Resolvconf = resolvconfName(k.c.Interface)
	case ModeHosts:
		r.Hosts = true
	}
	if old := k.record.Link; c.mode == ModeResolved && old != "" && old != r.Link && k.bus != nil {
		if _, err := k.bus.revertLink(ctx, old); err != nil {
			return false, 0, err
		}
	}
	if old := k.record.Resolvconf; c.mode == ModeResolvconf && old != "" && old != r.Resolvconf {
		if _, err := undoResolvconf(ctx, k.c.Root, old); err != nil {
			return false, 0, err
		}
	}
	if err := k.keep(r); err != nil {
		return false, 0, err
	}
	switch c.mode {
	case ModeResolved:
		changed, err = k.applyResolved(ctx, c, owner)
	case ModeResolvconf:
		text := resolvconfText(k.c.Domain, c.servers)
		changed, err = applyResolvconf(ctx, k.c.Root, r.Resolvconf, text, c.first)
	case ModeHosts:
		if entries != nil {
			changed, more, err = k.hosts.apply(ctx, entries)
		}
	}
	return changed, more, err
}

func (k *keeper) applyResolved(ctx context.Context, c choice, owner string) (bool, error) {
	index, err := indexOf(k.c.Interface)
	if err != nil {
		if k.c.Index == 0 {
			return false, err
		}
		index = k.c.Index // renamed since
	}
	link := fmt.Sprint(owner, " ", index)
	changed, err := k.bus.applyLink(ctx, k.c.Interface, index, linkSettings(k.c.Domain, k.c.Reverse, c.servers), link != k.ruled)
	if err == nil {
		k.ruled = link
	}
	return changed, err
}

func (k *keeper) keep(r record) error {
	if r == k.record {
		return nil
	}
	if err := r.save(k.c.Record); err != nil {
		return err
	}
	k.record = r
	return nil
}

// undo takes from the host what the record says, but for one way.
func (k *keeper) undo(ctx context.Context, but string) (done []string, err error) {
	r := k.record
	var errs []error
	if r.Link != "" && but != ModeResolved {
		text, err := k.undoLink(ctx, r.Link)
		if err == nil {
			k.ruled, r.Link = "", ""
		}
		done, errs = add(done, text), append(errs, err)
	}
	if r.Resolvconf != "" && but != ModeResolvconf {
		changed, err := undoResolvconf(ctx, k.c.Root, r.Resolvconf)
		if err == nil {
			if changed {
				done = add(done, "servers of "+r.Resolvconf+" in resolvconf")
			}
			r.Resolvconf = ""
		}
		errs = append(errs, err)
	}
	if r.Hosts && but != ModeHosts {
		changed, _, err := k.hosts.apply(ctx, nil)
		if err == nil {
			if changed {
				done = add(done, "names of network "+k.c.Network+" in "+k.hosts.path)
			}
			r.Hosts = false
		}
		errs = append(errs, err)
	}
	return done, errors.Join(append(errs, k.keep(r))...)
}

func add(list []string, text string) []string {
	if text == "" {
		return list
	}
	return append(list, text)
}

// undoLink also works where systemd-resolved does not run any more: it forgets
// links by itself.
func (k *keeper) undoLink(ctx context.Context, iface string) (done string, err error) {
	owner := ""
	if k.bus == nil {
		k.bus, err = dialBus(ctx, k.c.Root)
	}
	if err == nil {
		owner, err = k.bus.owner(ctx)
	}
	if err != nil || owner == "" {
		return "", nil
	}
	changed, err := k.bus.revertLink(ctx, iface)
	if err != nil || !changed {
		return "", err
	}
	return "settings of interface " + iface + " in systemd-resolved", nil
}

// Clean undoes without a daemon what a Run of the network left that crashed or
// was told to keep, and says what it removed. Nothing left is no error.
func Clean(root, network, record string) (removed []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), undoing)
	defer cancel()
	c := Config{Network: network, Domain: network + ".internal", Root: root, Record: record}
	k := keeper{c: c, hosts: newHostsFile(root, network, c.Domain, record)}
	var unread error
	k.record, unread = loadRecord(record)
	// A record that was lost does not leave the block there: its marks name the network.
	k.record.Hosts = true
	defer func() { k.bus.close() }()
	if err := k.hosts.finish(ctx); err != nil {
		return nil, err
	}
	removed, err = k.undo(ctx, "")
	if unread != nil && err == nil {
		err = fmt.Errorf("%w: removed what was found", unread)
	}
	return removed, err
}

// recordFolder is where the journal of /etc/hosts is, which networks share.
func recordFolder(record string) string { return filepath.Dir(filepath.Dir(record)) }
