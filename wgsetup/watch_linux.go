package wgsetup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watch listens for changes of links, addresses, routes and routing rules. One socket for all
// of them, opened before there is a device to watch.
type watch struct {
	conn  *netlink.Conn
	ended atomic.Bool // an error of conn means nothing
}

func newWatch() (*watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("watch netlink: %w", err)
	}
	for _, group := range []uint32{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	} {
		if err := conn.JoinGroup(group); err != nil {
			conn.Close()
			return nil, fmt.Errorf("watch netlink: %w", err)
		}
	}
	return &watch{conn: conn}, nil
}

// run calls tell with the link that changed, zero if it is not known, until
// stop.
func (w *watch) run(tell func(index int)) error {
	for {
		messages, err := w.conn.Receive()
		switch {
		case err != nil && w.ended.Load():
			return nil
		case errors.Is(err, unix.ENOBUFS):
			tell(0) // events were lost
			continue
		case err != nil:
			return fmt.Errorf("watch netlink: %w", err)
		}
		for _, m := range messages {
			tell(linkOf(m))
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

// linkOf returns the index of the link that a message is about, or zero.
func linkOf(m netlink.Message) int {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// struct ifinfomsg and struct ifaddrmsg have it at the same place.
		if len(m.Data) >= 8 {
			return int(binary.NativeEndian.Uint32(m.Data[4:]))
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return 0
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofRtMsg:])
		if err != nil {
			return 0
		}
		for attributes.Next() {
			if attributes.Type() == unix.RTA_OIF {
				return int(attributes.Uint32())
			}
		}
	}
	return 0
}
