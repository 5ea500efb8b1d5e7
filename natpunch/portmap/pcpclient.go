package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// tries are the gaps after each request, here and by NAT-PMP: RFC 6886's, Section 3.1, which suit a LAN better than
// the seconds of RFC 6887. A gateway that let three datagrams drop is asked again some time later.
var tries = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// askPCP makes, renews or with no lifetime deletes a mapping.
func askPCP(ctx context.Context, g Gateway, m pcp.Map) (pcp.Response, error) {
	m.Client = g.Local
	r, err := roundTripPCP(ctx, g, m.Append(nil), func(r pcp.Response) bool {
		if r.Result == pcp.UnsupportedVersion {
			return true // in whatever form the gateway says it
		}
		// What carries another nonce is an answer to somebody else, or a forgery (RFC 6887, Section 11.4).
		return !r.Announce && r.Nonce == m.Nonce && r.Internal == m.Internal
	})
	switch {
	case err != nil:
		return r, err
	case r.Result == pcp.UnsupportedVersion:
		return r, &fault{words: r.Result.Error()}
	case r.Result != pcp.Success:
		return r, &fault{spoken: true, wait: r.Lifetime, words: r.Result.Error()}
	case m.Lifetime > 0 && (r.External.Port() == 0 || r.Lifetime == 0):
		return r, &fault{spoken: true, words: "the gateway granted a mapping without a port or a lifetime"}
	}
	return r, nil
}

// roundTripPCP sends a request until the gateway answers what ours accepts.
func roundTripPCP(ctx context.Context, g Gateway, request []byte, ours func(pcp.Response) bool) (pcp.Response, error) {
	to := g.Addr
	if to.IsLinkLocalUnicast() && to.Is6() {
		to = to.WithZone(g.Iface)
	}
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0))
	// Connected, so that the kernel lets through what comes from the gateway's port, and nothing else.
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, pcp.ServerPort)))
	if err != nil {
		return pcp.Response{}, &fault{words: fmt.Sprintf("ask gateway %v: %v", g.Addr, err)}
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, pcp.MaxLen+1)
	for _, gap := range tries {
		if err := conn.SetReadDeadline(time.Now().Add(gap)); err != nil {
			return pcp.Response{}, fmt.Errorf("ask gateway %v: %w", g.Addr, err)
		}
		if _, err := conn.Write(request); err != nil {
			return pcp.Response{}, &fault{words: fmt.Sprintf("ask gateway %v: %v", g.Addr, err)}
		}
		for ctx.Err() == nil {
			n, err := conn.Read(buf)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil { // its port is closed
				return pcp.Response{}, &fault{words: "the gateway does not listen"}
			}
			if r, err := pcp.ParseResponse(buf[:n]); err == nil && ours(r) {
				return r, nil
			}
		}
		if ctx.Err() != nil {
			return pcp.Response{}, ctx.Err()
		}
	}
	return pcp.Response{}, errSilent
}
