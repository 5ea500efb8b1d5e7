package portmap

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"testing"
)

var fuzzGateway = Gateway{Iface: "eth0", Local: netip.MustParseAddr("192.168.1.10"), Addr: netip.MustParseAddr("192.168.1.1")}

// Whatever answers a search, only the gateway is ever connected to.
func FuzzParseAnswer(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, gateways bool) {
		from := netip.MustParseAddr("192.168.1.66")
		if gateways {
			from = fuzzGateway.Addr
		}
		l, ok := parseAnswer(b, from, fuzzGateway.Addr)
		if !ok {
			return
		}
		if len(b) > maxDatagram {
			t.Errorf("%d bytes are taken", len(b))
		}
		u, err := url.Parse(l.url)
		if err != nil || u.Scheme != "http" || u.Hostname() != fuzzGateway.Addr.String() || u.Port() == "" || u.User != nil {
			t.Errorf("%q leads to %q", b, l.url)
		}
		if l.rank < 0 || l.rank > 3 {
			t.Errorf("rank %d", l.rank)
		}
	})
}

// Whatever a description says, there are a few services, all on the gateway.
func FuzzParseDescription(f *testing.F) {
	at, err := url.Parse("http://192.168.1.1:5000/root.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		services, err := parseDescription(io.LimitReader(bytes.NewReader(b), maxDescription), fuzzGateway, at)
		if err != nil && len(services) > 0 || len(services) > maxServices {
			t.Errorf("%d services, %v", len(services), err)
		}
		for _, s := range services {
			if s.control.Scheme != "http" || s.control.Hostname() != fuzzGateway.Addr.String() || !slices.Contains(mappingServices, s.urn) {
				t.Errorf("%s at %s", s.urn, s.control.String())
			}
		}
	})
}

type answering func(*http.Request) *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

// Whatever a gateway answers to an action is an answer, or an error, and what is
// no address is none.
func FuzzSOAPAnswer(f *testing.F) {
	control, err := url.Parse("http://192.168.1.1:5000/control")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status uint16, b []byte) {
		read := 0
		client := http.Client{Transport: guard{limit: maxSOAP, next: answering(func(r *http.Request) *http.Response {
			body := io.TeeReader(bytes.NewReader(b), counter{&read})
			return &http.Response{StatusCode: int(status), ContentLength: -1, Header: make(http.Header), Body: io.NopCloser(body), Request: r}
		})}}
		if status >= 300 && status < 400 {
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		}
		var out struct{ NewExternalIPAddress, NewConnectionStatus, NewInternalPort, NewInternalClient, NewLeaseDuration string }
		err := perform(t.Context(), client, *control, mappingServices[0], "GetExternalIPAddress", nil, &out)
		if err == nil && upnpCode(err) != 0 {
			t.Error("a code without an error")
		}
		if a := externalAddr(out.NewExternalIPAddress); a.Is4In6() || a.Zone() != "" || a.IsValid() && a.IsUnspecified() {
			t.Errorf("address %v of %q", a, out.NewExternalIPAddress)
		}
		if read > maxSOAP {
			t.Errorf("%d bytes are read", read)
		}
	})
}

type counter struct{ n *int }

func (c counter) Write(b []byte) (int, error) {
	*c.n += len(b)
	return len(b), nil
}
