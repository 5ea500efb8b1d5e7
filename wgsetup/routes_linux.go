package wgsetup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks our routes ("proto 202" in ip-route's output), so that
// one which the administrator adds to the device is not taken for ours. No
// routing daemon uses the number.
const routeProtocol = 202

// routeDump lists the routes of one link. The kernel picks them out (since
// 4.20), so that a router with a million others does not read all of them
// whenever one changes.
type routeDump struct {
	conn *netlink.Conn
}

func newRouteDump() (*routeDump, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// Where the option is unknown, all routes come, and parse picks.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	return &routeDump{conn: conn}, nil
}

func (r *routeDump) close() error { return r.conn.Close() }

// of returns the unicast routes through a link in the main table.
func (r *routeDump) of(index int) ([]route, error) {
	var out []route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// struct rtmsg: only family and table say something here.
		request := make([]byte, unix.SizeofRtMsg)
		request[0], request[4] = family, unix.RT_TABLE_MAIN
		attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
			{Type: unix.RTA_OIF, Data: binary.NativeEndian.AppendUint32(nil, uint32(index))},
		})
		if err != nil {
			return nil, err
		}
		messages, err := r.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request | netlink.Dump},
			Data:   append(request, attributes...),
		})
		if family == unix.AF_INET6 && errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, m := range messages {
			if x, link, ok := parseRoute(m.Data); ok && link == index {
				out = append(out, x)
			}
		}
	}
	slices.SortFunc(out, func(a, b route) int { return comparePrefix(a.prefix, b.prefix) })
	return out, nil
}

// parseRoute reads a route message; ok is false for what is not a unicast route
// of the main table.
func parseRoute(b []byte) (r route, link int, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return route{}, 0, false
	}
	// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope,
	// type, flags.
	family, bits, table, protocol, kind := b[0], int(b[1]), b[4], b[5], b[7]
	flags := binary.NativeEndian.Uint32(b[8:])
	if table != unix.RT_TABLE_MAIN || kind != unix.RTN_UNICAST || flags&unix.RTM_F_CLONED != 0 {
		return route{}, 0, false
	}
	destination := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		destination = netip.IPv4Unspecified()
	}
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return route{}, 0, false
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.RTA_DST:
			if destination, ok = netip.AddrFromSlice(attributes.Bytes()); !ok {
				return route{}, 0, false
			}
		case unix.RTA_OIF:
			link = int(attributes.Uint32())
		}
	}
	prefix, err := destination.Prefix(bits)
	return route{prefix: prefix, ours: protocol == routeProtocol}, link, err == nil && attributes.Err() == nil
}
