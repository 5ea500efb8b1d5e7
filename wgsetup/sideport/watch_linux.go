package sideport

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

// Run puts the table back whenever somebody removes it, until ctx ends.
func (s *Conn) Run(ctx context.Context) error {
	s.mu.Lock()
	w := s.watch
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	events := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- w.run(events) }()
	stop := func() error {
		w.stop()
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
		if err := s.repair(); err != nil && ctx.Err() == nil {
			s.log.Warn("side port not repaired", "iface", s.table.config.Interface, "err", err)
		}
	}
}

// repair makes the table again if something of it is missing.
func (s *Conn) repair() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == nil {
		return nil // closed
	}
	whole, err := s.table.whole()
	if err != nil || whole {
		return err
	}
	if err := s.table.install(); err != nil {
		return err
	}
	s.log.Info("side port repaired: its nftables table was removed", "iface", s.table.config.Interface)
	return nil
}

// watch listens for removals from one nftables table.
type watch struct {
	table string
	conn  *netlink.Conn
	ended atomic.Bool // an error of conn means nothing
}

func newWatch(table string) (*watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	return &watch{table: table, conn: conn}, nil
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
