package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// settle lets a firewall's reload, a burst of transactions, come to its
	// end; it also bounds what two programs that fight over a table cost.
	settle = 20 * time.Millisecond
	// recheck finds what no event told.
	recheck = time.Minute
)

// Run puts the table back whenever somebody removes something of it, until ctx
// ends or the Table is closed. It is called once.
func (t *Table) Run(ctx context.Context) error {
	events := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- t.watch.run(events) }()
	stop := func() error {
		t.watch.stop()
		return <-ended
	}
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return stop()
		case err := <-ended:
			return err
		case <-tick.C:
		case <-events:
			select {
			case <-ctx.Done():
				return stop()
			case <-time.After(settle):
			}
		}
		if err := t.repair(); err != nil && ctx.Err() == nil {
			t.log.Warn("nftables table not repaired", "table", t.nft.Name, "err", err)
		}
	}
}

// repair makes the table again if something of it is missing.
func (t *Table) repair() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.chains) == 0 {
		return nil
	}
	whole, err := t.whole()
	if err != nil || whole {
		return err
	}
	if err := t.install(); err != nil {
		return err
	}
	t.log.Info("nftables table repaired: somebody removed it", "table", t.nft.Name)
	return nil
}

// watch listens for removals from one nftables table.
type watch struct {
	table     string
	conn      *netlink.Conn
	listening bool        // guarded by the Table
	ended     atomic.Bool // an error of conn means nothing
}

func newWatch(table string) (*watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	return &watch{table: table, conn: conn}, nil
}

// listen begins or ends to hear what happens to the host's tables: a table that
// is not there wakes nobody.
func (w *watch) listen(on bool) error {
	if on == w.listening {
		return nil
	}
	change := w.conn.LeaveGroup
	if on {
		change = w.conn.JoinGroup
	}
	if err := change(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	w.listening = on
	return nil
}

// run tells events until stop.
func (w *watch) run(events chan<- struct{}) error {
	tell := func() {
		select {
		case events <- struct{}{}:
		default:
		}
	}
	for {
		messages, err := w.conn.Receive()
		switch {
		case err != nil && w.ended.Load():
			return nil
		case errors.Is(err, unix.ENOBUFS):
			tell() // events were lost, perhaps ours
			continue
		case err != nil:
			return fmt.Errorf("watch nftables: %w", err)
		}
		for _, m := range messages {
			if w.concerns(m) {
				tell()
				break
			}
		}
	}
}

// stop makes run return.
func (w *watch) stop() {
	w.ended.Store(true)
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
}

func (w *watch) close() error {
	w.ended.Store(true)
	return w.conn.Close()
}

// nfgenmsgSize is the length of the header before a message's attributes.
const nfgenmsgSize = 4

// concerns says whether m removes something from the table.
func (w *watch) concerns(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELCHAIN,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELRULE:
	default:
		return false
	}
	if len(m.Data) < nfgenmsgSize {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgSize:])
	if err != nil {
		return false
	}
	for attributes.Next() {
		// The table's name is attribute 1 of all three messages.
		if attributes.Type() == unix.NFTA_TABLE_NAME {
			return string(bytes.TrimRight(attributes.Bytes(), "\x00")) == w.table
		}
	}
	return false
}
