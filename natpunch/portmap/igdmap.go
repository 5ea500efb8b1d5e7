package portmap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// An attempt is one way to ask an IGD for a mapping. The zero lease means for good.
type attempt struct {
	any   bool // AddAnyPortMapping, of WANIPConnection:2
	port  uint16
	lease time.Duration
	ports int // how many other ports were tried
}

// maxPorts is how many other ports are tried where one is taken.
const maxPorts = 4

// after decides what to try next when a gateway answered with an error code of UPnP; zero stands for an answer that
// made no sense, or none. internal is WireGuard's port. It is pure but for random, which gives a port.
func (a attempt) after(code int, internal uint16, random func() uint16) (attempt, error) {
	next := a
	otherPort := func() (attempt, error) {
		if a.ports == maxPorts {
			return a, upnpFault(code)
		}
		next.port, next.ports = random(), a.ports+1
		return next, nil
	}
	switch code {
	case 401, 602: // no such action, not implemented
		if a.any {
			next.any = false
			return next, nil
		}
	case 402, 501, 725, 0:
		// Leases that end are refused by 725, by 402, by 501, and by a crash (RFC 6886, Section 9.5). The other order
		// would not do: some refuse leases without end.
		if a.lease > 0 {
			next.lease = 0
			return next, nil
		}
		if a.any && code != 0 {
			next.any, next.lease = false, wantedLifetime
			return next, nil
		}
	case 718, 729:
		return otherPort()
	case 606: // not authorized: this port, perhaps
		if a.ports == 0 {
			return otherPort()
		}
	case 724: // outside and inside have to be the same
		if a.port != internal {
			next.port = internal
			return next, nil
		}
	}
	return a, upnpFault(code)
}

var upnpWords = map[int]string{
	0:   "the gateway broke off",
	401: "the gateway does not know how to map ports",
	402: "the gateway found the request malformed",
	501: "the gateway failed to map the port",
	606: "port mapping is not allowed to this host",
	713: "the gateway's table of mappings is broken",
	714: "the gateway has no such mapping",
	715: "the gateway maps ports only for one remote host each",
	716: "the gateway wants a port of its own choice and cannot say which",
	718: "other hosts hold all ports that were tried",
	724: "the port outside would have to be the same as inside, and it is taken",
	725: "the gateway refuses leases with and without end",
	727: "the gateway maps only all ports at once",
	728: "the gateway has no room for another mapping",
	729: "something else in the gateway uses all ports that were tried",
}

func upnpFault(code int) error {
	words, ok := upnpWords[code]
	if !ok {
		words = fmt.Sprintf("the gateway refused with code %d", code)
	}
	return &fault{spoken: code != 0, words: words}
}

// entry is what a gateway knows of one of its ports.
type entry struct {
	NewInternalPort   string
	NewInternalClient string
	NewLeaseDuration  string
}

// lookUp asks who holds a port outside. known is false where the gateway cannot tell.
func (s *igd) lookUp(ctx context.Context, port uint16) (e entry, there, known bool) {
	in := struct{ NewRemoteHost, NewExternalPort, NewProtocol string }{"", portText(port), "UDP"}
	err := s.call(ctx, "GetSpecificPortMappingEntry", &in, &e)
	switch {
	case err == nil:
		return e, e.NewInternalClient != "", e.NewInternalClient != ""
	case upnpCode(err) == 714:
		return e, false, true
	}
	return e, false, false
}

func (e entry) is(client netip.Addr, internal uint16) bool {
	return e.NewInternalClient == client.String() && e.NewInternalPort == portText(internal)
}

func portText(p uint16) string { return strconv.Itoa(int(p)) }

// add makes or renews a mapping from the wanted port outside or, where it cannot have that, from another.
func (s *igd) add(ctx context.Context, internal, wanted uint16, random func() uint16) (grant, error) {
	if wanted < 1024 { // zero would be a wildcard, and below sit the router's own
		wanted = internal
	}
	if wanted < 1024 {
		wanted = random()
	}
	a := attempt{any: s.protocol() == IGD2, port: wanted, lease: wantedLifetime}
	cleared, verified := false, false
	// Each turn ends with the mapping, the end of the ways to ask, or one way less.
	for range 12 {
		port, code, err := s.try(ctx, a, internal)
		if ctx.Err() != nil {
			return grant{}, ctx.Err()
		}
		if err == nil {
			e, there, known := s.lookUp(ctx, port)
			switch {
			case known && there && !e.is(s.gateway.Local, internal):
				code = 718 // granted to us, and another's all the same
			case known && !there && !verified && a.lease > 0:
				// Some take a lease and map nothing (RFC 6886, Section 9.5).
				verified, code = true, 725
			default: // a look-up that finds nothing even now is what is wrong, or a check by a peer will tell
				g := grant{protocol: s.protocol(), internal: internal, lifetime: a.lease}
				s.look(ctx)
				g.external = netip.AddrPortFrom(s.external, port)
				return g, nil
			}
		}
		if (code == 718 || code == 729) && !cleared {
			// It may be our own, from before a restart or under an older lease.
			if e, there, _ := s.lookUp(ctx, a.port); there && e.is(s.gateway.Local, internal) {
				cleared = true
				if s.remove(ctx, a.port) == nil {
					continue
				}
				return s.adopt(ctx, e, internal, a.port)
			}
		}
		if code == 401 && !a.any && s.urn == mappingServices[0] {
			// A gateway that says 2 and means 1.
			s.urn = mappingServices[1]
			continue
		}
		if a, err = a.after(code, internal, random); err != nil {
			return grant{}, err
		}
	}
	return grant{}, upnpFault(718)
}

// adopt takes a mapping that is ours already and cannot be made anew.
func (s *igd) adopt(ctx context.Context, e entry, internal, port uint16) (grant, error) {
	seconds, err := strconv.ParseUint(e.NewLeaseDuration, 10, 32)
	if err != nil {
		seconds = 0
	}
	s.look(ctx)
	return grant{
		protocol: s.protocol(), internal: internal, external: netip.AddrPortFrom(s.external, port),
		lifetime: min(time.Duration(seconds)*time.Second, maxLifetime),
	}, nil
}

// try makes one attempt and returns the port it got, or a code of UPnP with the error.
func (s *igd) try(ctx context.Context, a attempt, internal uint16) (port uint16, code int, err error) {
	in := struct {
		NewRemoteHost, NewExternalPort, NewProtocol, NewInternalPort, NewInternalClient string
		NewEnabled, NewPortMappingDescription, NewLeaseDuration                         string
	}{
		// "UDP" in capitals: some take no other.
		"", portText(a.port), "UDP", portText(internal), s.gateway.Local.String(),
		"1", "WireGuard", strconv.Itoa(int(a.lease / time.Second)),
	}
	if !a.any {
		err := s.call(ctx, "AddPortMapping", &in, nil)
		return a.port, upnpCode(err), err
	}
	var out struct{ NewReservedPort string }
	if err := s.call(ctx, "AddAnyPortMapping", &in, &out); err != nil {
		return 0, upnpCode(err), err
	}
	n, err := strconv.ParseUint(out.NewReservedPort, 10, 16)
	if err != nil || n == 0 {
		return 0, 401, errors.New("AddAnyPortMapping: the gateway does not say which port")
	}
	return uint16(n), 0, nil
}

// renew makes a mapping last, or only looks after one that lasts for good.
func (s *igd) renew(ctx context.Context, held grant, random func() uint16) (grant, error) {
	if held.lifetime == 0 {
		if e, there, _ := s.lookUp(ctx, held.external.Port()); there && e.is(s.gateway.Local, held.internal) {
			return s.adopt(ctx, e, held.internal, held.external.Port())
		}
	}
	return s.add(ctx, held.internal, held.external.Port(), random)
}

// remove deletes a mapping. One that is not there is deleted.
func (s *igd) remove(ctx context.Context, port uint16) error {
	in := struct{ NewRemoteHost, NewExternalPort, NewProtocol string }{"", portText(port), "UDP"}
	err := s.call(ctx, "DeletePortMapping", &in, nil)
	if upnpCode(err) == 714 {
		return nil
	}
	return err
}

// highPort makes a port that no router keeps for itself and no host usually asks for.
func highPort(n uint32) uint16 { return uint16(20000 + n%(math.MaxUint16-20000)) }
