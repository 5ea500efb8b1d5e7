package portmap

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
)

const ssdpPort = 1900

var ssdpGroup = netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 255, 250}), ssdpPort)

// A search is one M-SEARCH. Some gateways answer only to multicast, some only to unicast, and some only to a search for
// everything, which by multicast would have every lamp in the house answer.
type search struct {
	target    string
	multicast bool
}

var searches = []search{
	{"urn:schemas-upnp-org:device:InternetGatewayDevice:2", true},
	{"urn:schemas-upnp-org:device:InternetGatewayDevice:1", true},
	{"ssdp:all", false},
}

const (
	// searchFor is as long as answers are waited for; MX asks for them within a second.
	searchFor = 1900 * time.Millisecond
	// searchMore is how much longer once there is one: for a better one of the same gateway.
	searchMore = 100 * time.Millisecond
	// maxAnswers and maxLocations bound what a gateway, or who forges its answers, can make us do.
	maxAnswers   = 64
	maxLocations = 4
	maxDatagram  = 2048
)

// A location is where a gateway keeps a description, and how it was found.
type location struct {
	url  string
	rank int // lower is likelier to be of use
}

// findIGD searches for descriptions on the gateway, best first. goupnp's search cannot stop early and does not tell
// who answered.
func findIGD(ctx context.Context, g Gateway) ([]location, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0)))
	if err != nil {
		return nil, fmt.Errorf("search for UPnP: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if iface, err := net.InterfaceByName(g.Iface); err == nil {
		p := ipv4.NewPacketConn(conn)
		_ = p.SetMulticastInterface(iface) // without it the route decides, which is right on most hosts
		_ = p.SetMulticastTTL(2)
	}
	end, again := time.Now().Add(searchFor), time.Now()
	var found []location
	buf := make([]byte, maxDatagram+1)
	for answers := 0; answers < maxAnswers && ctx.Err() == nil; {
		now := time.Now()
		if !now.Before(end) {
			break
		}
		if len(found) == 0 && !now.Before(again) {
			again = now.Add(600 * time.Millisecond)
			sendSearches(conn, g.Addr)
		}
		wait := end
		if len(found) == 0 && again.Before(end) {
			wait = again
		}
		if err := conn.SetReadDeadline(wait); err != nil {
			return found, fmt.Errorf("search for UPnP: %w", err)
		}
		if ctx.Err() != nil {
			break
		}
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("search for UPnP: %w", err)
		}
		answers++
		l, ok := parseAnswer(buf[:n], from.Addr().Unmap(), g.Addr)
		if !ok || slices.ContainsFunc(found, func(f location) bool { return f.url == l.url && f.rank <= l.rank }) {
			continue
		}
		if len(found) == 0 {
			end = now.Add(searchMore)
		}
		found = slices.DeleteFunc(found, func(f location) bool { return f.url == l.url })
		found = append(found, l)
		slices.SortStableFunc(found, func(a, b location) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.url, b.url))
		})
		found = found[:min(len(found), maxLocations)]
	}
	return found, nil
}

func sendSearches(conn *net.UDPConn, gateway netip.Addr) {
	for _, s := range searches {
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(gateway, ssdpPort), ssdpGroup} {
			if to == ssdpGroup && !s.multicast {
				continue
			}
			// Names in capitals, and HOST the group's in unicast too: there are parsers that want exactly that.
			m := "M-SEARCH * HTTP/1.1\r\nHOST: " + ssdpGroup.String() + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + s.target + "\r\n\r\n"
			_, _ = conn.WriteToUDPAddrPort([]byte(m), to)
		}
	}
}

// parseAnswer returns where an answer says that a gateway's description is. Answers that neither come from the gateway
// nor speak of it are somebody else's.
func parseAnswer(b []byte, from, gateway netip.Addr) (location, bool) {
	if len(b) > maxDatagram {
		return location{}, false
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return location{}, false
	}
	_ = r.Body.Close()
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil || r.StatusCode != http.StatusOK {
		return location{}, false
	}
	// Two routers that share one address answer with their own (VRRP).
	if host, err := netip.ParseAddr(u.Hostname()); from != gateway && (err != nil || host != gateway) {
		return location{}, false
	}
	at, err := onGateway(u, gateway)
	if err != nil {
		return location{}, false
	}
	l := location{url: at.String(), rank: 3}
	kind := r.Header.Get("ST") + " " + r.Header.Get("USN")
	for i, mark := range []string{"InternetGatewayDevice:2", "InternetGatewayDevice:1", ":WAN"} {
		if strings.Contains(kind, mark) {
			l.rank = i
			break
		}
	}
	return l, true
}

// onGateway returns the URL with the gateway's address as its host. Whatever an answer or a description says, nobody
// else is ever connected to.
func onGateway(u *url.URL, gateway netip.Addr) (*url.URL, error) {
	if u.Scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return nil, fmt.Errorf("use URL %.80q: not plain HTTP", u.String())
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	at := *u
	at.Host, at.Fragment = net.JoinHostPort(gateway.String(), port), ""
	return &at, nil
}
