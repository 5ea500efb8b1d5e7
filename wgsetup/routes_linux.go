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
	messages, err := r.dump(unix.RT_TABLE_MAIN, index)
	if err != nil {
		return nil, err
	}
	var out []route
	for _, m := range messages {
		ours := m.protocol == routeProtocol
		out = append(out, route{prefix: m.prefix, mtu: m.mtu, ours: ours, subnet: ours && m.metric == subnetMetric})
	}
	slices.SortFunc(out, func(a, b route) int { return comparePrefix(a.prefix, b.prefix) })
	return out, nil
}

// underlay returns our routes in a table of our own.
func (r *routeDump) underlay(table int) ([]underlayRoute, error) {
	messages, err := r.dump(table, 0)
	if err != nil {
		return nil, err
	}
	var out []underlayRoute
	for _, m := range messages {
		if m.protocol == routeProtocol && m.prefix.IsSingleIP() && !m.unreachable {
			out = append(out, underlayRoute{to: m.prefix.Addr(), link: m.link, gateway: m.gateway, source: m.source, mtu: m.mtu})
		}
	}
	return out, nil
}

// exit returns our default routes in a table of our own.
func (r *routeDump) exit(table, device int) ([]exitRoute, error) {
	messages, err := r.dump(table, 0)
	if err != nil {
		return nil, err
	}
	var out []exitRoute
	for _, m := range messages {
		if m.prefix.Bits() != 0 || m.unreachable && m.protocol != ruleProtocol || !m.unreachable && m.protocol != routeProtocol {
			continue
		}
		x := exitRoute{ipv6: m.prefix.Addr().Is6(), unreachable: m.unreachable}
		if !m.unreachable {
			x.source, x.mtu, x.elsewhere = m.source, m.mtu, m.link != device
		}
		out = append(out, x)
	}
	return out, nil
}

// dump returns the unicast routes of a table, those through one link only if
// index is not zero.
func (r *routeDump) dump(table, index int) ([]routeMessage, error) {
	var out []routeMessage
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// struct rtmsg: only the family says something here.
		request := make([]byte, unix.SizeofRtMsg)
		request[0] = family
		encoder := netlink.NewAttributeEncoder()
		encoder.Uint32(unix.RTA_TABLE, uint32(table))
		if index != 0 {
			encoder.Uint32(unix.RTA_OIF, uint32(index))
		}
		attributes, err := encoder.Encode()
		if err != nil {
			return nil, err
		}
		messages, err := r.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request | netlink.Dump},
			Data:   append(request, attributes...),
		})
		switch {
		case errors.Is(err, unix.ENOENT):
			continue // there is no such table
		case family == unix.AF_INET6 && errors.Is(err, unix.EOPNOTSUPP):
			continue // a kernel without IPv6
		case err != nil:
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, m := range messages {
			x, ok := parseRoute(m.Data)
			if ok && x.table == table && (!x.unreachable || index == 0) && (index == 0 || x.link == index) {
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// routeMessage is what of a route is read.
type routeMessage struct {
	prefix   netip.Prefix
	table    int
	protocol uint8
	link     int
	gateway  netip.Addr // zero: none
	source   netip.Addr // zero: none is preferred
	mtu      int        // zero: the link's
	metric   int
	// unreachable is for what answers with an error, which only a table of our
	// own is asked for.
	unreachable bool
}

// parseRoute reads a route message; ok is false for what is neither a unicast route nor an unreachable one.
func parseRoute(b []byte) (r routeMessage, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope,
	// type, flags.
	family, bits, kind := b[0], int(b[1]), b[7]
	flags := binary.NativeEndian.Uint32(b[8:])
	r.unreachable = kind == unix.RTN_UNREACHABLE
	if kind != unix.RTN_UNICAST && !r.unreachable || flags&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	r.table, r.protocol = int(b[4]), b[5]
	destination := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		destination = netip.IPv4Unspecified()
	}
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return r, false
	}
	for attributes.Next() {
		ok := true
		switch attributes.Type() {
		case unix.RTA_DST:
			destination, ok = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_OIF:
			r.link = int(attributes.Uint32())
		case unix.RTA_TABLE:
			r.table = int(attributes.Uint32()) // the header has 8 bits of it
		case unix.RTA_GATEWAY:
			r.gateway, ok = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_VIA:
			// struct rtvia: family, address.
			if via := attributes.Bytes(); len(via) > 2 {
				r.gateway, ok = netip.AddrFromSlice(via[2:])
			}
		case unix.RTA_PRIORITY:
			r.metric = int(attributes.Uint32())
		case unix.RTA_PREFSRC:
			r.source, ok = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_METRICS:
			attributes.Nested(func(metrics *netlink.AttributeDecoder) error {
				for metrics.Next() {
					if metrics.Type() == unix.RTAX_MTU {
						r.mtu = int(metrics.Uint32())
					}
				}
				return nil
			})
		}
		if !ok {
			return r, false
		}
	}
	r.prefix, err = destination.Prefix(bits)
	return r, err == nil && attributes.Err() == nil
}
