package portmap

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/soap"
)

const (
	// Bodies longer than these are cut, which makes no XML of them.
	maxDescription = 256 << 10
	maxSOAP        = 64 << 10
	// httpTimeout is for one request: routers of little power take a second to write flash.
	httpTimeout = 3 * time.Second
	maxServices = 8
)

// The services that map ports, best first, with the names from before UPnP last: they take the same actions.
var mappingServices = []string{
	"urn:schemas-upnp-org:service:WANIPConnection:2",
	"urn:schemas-upnp-org:service:WANIPConnection:1",
	"urn:schemas-upnp-org:service:WANPPPConnection:1",
	"urn:dslforum-org:service:WANIPConnection:1",
	"urn:dslforum-org:service:WANPPPConnection:1",
}

// An igd is a service of a gateway that maps ports.
type igd struct {
	gateway  Gateway
	urn      string
	control  url.URL
	status   string     // "Connected", or "Up" on some
	external netip.Addr // zero: the gateway does not say
}

func (s *igd) protocol() Protocol {
	if s.urn == mappingServices[0] {
		return IGD2
	}
	return IGD1
}

// discoverIGD returns the gateway's services, the one to use first. It says in words why there is none.
func discoverIGD(ctx context.Context, g Gateway) ([]*igd, error) {
	locations, err := findIGD(ctx, g)
	if err != nil {
		return nil, &fault{words: err.Error()}
	}
	if len(locations) == 0 {
		return nil, errSilent
	}
	client := guardedClient(g, maxDescription)
	var services []*igd
	var faults []error
	for _, l := range locations {
		found, err := describe(ctx, client, g, l.url)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, s := range found {
			if !slices.ContainsFunc(services, func(o *igd) bool { return o.control == s.control && o.urn == s.urn }) {
				services = append(services, s)
			}
		}
	}
	if len(services) == 0 {
		return nil, &fault{spoken: true, words: cmp.Or(errors.Join(faults...), errors.New("the gateway speaks UPnP, but maps no ports")).Error()}
	}
	services = services[:min(len(services), maxServices)]
	for _, s := range services {
		s.look(ctx)
	}
	rankServices(services)
	return services, nil
}

// rankServices puts what is of use first, and always in one order, so that a mapping does not wander.
func rankServices(services []*igd) {
	rank := func(s *igd) int {
		r := slices.Index(mappingServices, s.urn)
		if s.status != "Connected" && s.status != "Up" {
			r += 100
		}
		switch {
		case global(s.external):
		case s.external.IsValid():
			r += 10
		default:
			r += 20
		}
		return r
	}
	slices.SortStableFunc(services, func(a, b *igd) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.control.String(), b.control.String()))
	})
}

// describe reads a device description. goupnp would read one of any length from any host, through a proxy.
func describe(ctx context.Context, client http.Client, g Gateway, at string) ([]*igd, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read description %s: the gateway answers %s", at, response.Status)
	}
	return parseDescription(response.Body, g, request.URL)
}

// parseDescription returns the services of a description that map ports.
func parseDescription(r io.Reader, g Gateway, at *url.URL) ([]*igd, error) {
	decoder := xml.NewDecoder(r)
	decoder.DefaultSpace = goupnp.DeviceXMLNamespace
	decoder.CharsetReader = latin1
	var root goupnp.RootDevice
	if err := decoder.Decode(&root); err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	base := at
	if u, err := url.Parse(strings.TrimSpace(root.URLBaseStr)); err == nil && u.Host != "" {
		base = u
	}
	root.SetURLBase(base)
	var found []*igd
	root.Device.VisitServices(func(s *goupnp.Service) {
		kind := strings.TrimSpace(s.ServiceType)
		if !slices.Contains(mappingServices, kind) || !s.ControlURL.Ok || len(found) == maxServices {
			return
		}
		if control, err := onGateway(&s.ControlURL.URL, g.Addr); err == nil {
			found = append(found, &igd{gateway: g, urn: kind, control: *control})
		}
	})
	return found, nil
}

// latin1 reads descriptions in another charset than UTF-8: what matters in them is ASCII.
func latin1(_ string, r io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(r) // of at most maxDescription
	if err != nil {
		return nil, err
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return strings.NewReader(string(runes)), nil
}

// look asks for the connection's state and address.
func (s *igd) look(ctx context.Context) {
	var status struct{ NewConnectionStatus string }
	if s.call(ctx, "GetStatusInfo", nil, &status) == nil {
		s.status = status.NewConnectionStatus
	}
	var external struct{ NewExternalIPAddress string }
	s.external = netip.Addr{}
	if s.call(ctx, "GetExternalIPAddress", nil, &external) == nil {
		s.external = externalAddr(strings.TrimSpace(external.NewExternalIPAddress))
	}
}

// call performs an action of the service.
func (s *igd) call(ctx context.Context, action string, in, out any) error {
	return perform(ctx, guardedClient(s.gateway, maxSOAP), s.control, s.urn, action, in, out)
}

func perform(ctx context.Context, with http.Client, control url.URL, urn, action string, in, out any) error {
	client := soap.NewSOAPClient(control)
	client.HTTPClient = with
	if err := client.PerformActionCtx(ctx, urn, action, in, out); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// upnpCode returns the error code of UPnP in an error of call, or zero for one without.
func upnpCode(err error) int {
	var f *soap.SOAPFaultError
	if errors.As(err, &f) {
		return f.Detail.UPnPError.Errorcode
	}
	return 0
}

// guardedClient speaks plain HTTP with the gateway and nobody else: no proxy, no redirect, no connection that outlives
// its request, and bodies of limited length. Nothing else may be asked of it than URLs of onGateway.
func guardedClient(g Gateway, limit int64) http.Client {
	dialer := &net.Dialer{Timeout: httpTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0)), KeepAlive: -1}
	return http.Client{
		Timeout: httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: guard{limit: limit, next: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				to, err := netip.ParseAddrPort(addr)
				if err != nil || to.Addr() != g.Addr {
					return nil, fmt.Errorf("connect to %s: not the gateway", addr)
				}
				return dialer.DialContext(ctx, network, addr)
			},
		}},
	}
}

// A guard cuts bodies.
type guard struct {
	limit int64
	next  http.RoundTripper
}

func (t guard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, t.limit), response.Body}
	return response, nil
}
