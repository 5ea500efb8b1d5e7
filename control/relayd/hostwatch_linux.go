package relayd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// hostWatch hears of what can change which addresses are served: addresses, links
// that go up or down, and default routes.
type hostWatch struct {
	conn    *netlink.Conn
	changed chan struct{} // holds one
}

func newHostWatch() (*hostWatch, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("watch the host's addresses: %w", err)
	}
	for _, group := range []uint32{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		if err := conn.JoinGroup(group); err != nil {
			conn.Close()
			return nil, fmt.Errorf("watch the host's addresses: %w", err)
		}
	}
	return &hostWatch{conn: conn, changed: make(chan struct{}, 1)}, nil
}

// run tells of changes until ctx ends.
func (w *hostWatch) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := w.conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // some were lost
			w.tell()
		case err != nil:
			return fmt.Errorf("watch the host's addresses: %w", err)
		}
		for _, m := range messages {
			if matters(m) {
				w.tell()
			}
		}
	}
}

func (w *hostWatch) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// matters passes over all routes but default ones: a router of the internet has
// new ones all the time.
func matters(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		const destinationBits = 1 // in struct rtmsg
		return len(m.Data) > destinationBits && m.Data[destinationBits] == 0
	}
	return true
}

// close may be called on nil.
func (w *hostWatch) close() {
	if w != nil {
		_ = w.conn.Close()
	}
}
