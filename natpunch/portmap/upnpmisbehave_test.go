package portmap

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// once refuses an action with a code while a condition on the arguments holds.
func refuse(code int, actions string, holds func(arg map[string]string) bool) func(string, map[string]string) int {
	return func(action string, arg map[string]string) int {
		if slices.Contains(strings.Fields(actions), action) && (holds == nil || holds(arg)) {
			return code
		}
		return 0
	}
}

const adds = "AddPortMapping AddAnyPortMapping"

func leased(arg map[string]string) bool { return arg["NewLeaseDuration"] != "0" }
func own(arg map[string]string) bool    { return arg["NewExternalPort"] == "23456" }

// What routers do wrong by UPnP, and what is still mapped, or said.
func TestUPnPMisbehaviour(t *testing.T) {
	empty, zero, loopback, garbage, carrier := "", "0.0.0.0", "127.0.0.1", "none", "100.64.9.9"
	for _, c := range []struct {
		name  string
		edit  func(*fakeIGD)
		want  Protocol // empty: none
		other bool     // another port than WireGuard's
		good  bool     // for good: no lease
		none  bool     // nested
		says  string
		did   []string // the requests to add, in order
	}{
		{name: "only permanent leases (725)", edit: func(d *fakeIGD) { d.refuse = refuse(725, adds, leased) }, want: IGD2, good: true, did: []string{"AddAnyPortMapping 23456 7200", "AddAnyPortMapping 23456 0"}},
		{name: "only permanent leases, IGD1", edit: func(d *fakeIGD) { d.services, d.refuse = []string{wanIP1}, refuse(725, adds, leased) }, want: IGD1, good: true, did: []string{"AddPortMapping 23456 7200", "AddPortMapping 23456 0"}},
		{name: "a lease is an invalid argument (402)", edit: func(d *fakeIGD) { d.refuse = refuse(402, adds, leased) }, want: IGD2, good: true},
		{name: "a permanent lease is refused", edit: func(d *fakeIGD) {
			d.refuse = refuse(402, adds, func(arg map[string]string) bool { return !leased(arg) })
		}, want: IGD2, did: []string{"AddAnyPortMapping 23456 7200"}},
		{name: "a lease crashes it", edit: func(d *fakeIGD) {
			d.crash = func(action string, arg map[string]string) bool {
				return strings.HasPrefix(action, "Add") && leased(arg)
			}
		}, want: IGD2, good: true},
		{name: "a lease is granted and ignored", edit: func(d *fakeIGD) { d.forgets = leased }, want: IGD2, good: true},
		{name: "another host holds the port (718)", edit: func(d *fakeIGD) {
			d.services, d.table[testPort] = []string{wanIP1}, &igdEntry{client: "192.168.1.77", internal: 80}
		}, want: IGD1, other: true},
		{name: "another host holds the port, IGD2", edit: func(d *fakeIGD) { d.table[testPort] = &igdEntry{client: "192.168.1.77", internal: 80} }, want: IGD2, other: true},
		{name: "our own older lease holds the port (718)", edit: func(d *fakeIGD) {
			d.services, d.table[testPort] = []string{wanIP1}, &igdEntry{client: "127.0.0.1", internal: testPort}
			d.refuse = refuse(718, adds, func(arg map[string]string) bool { return d.table[testPort] != nil })
		}, want: IGD1},
		{name: "our own older lease cannot be deleted", edit: func(d *fakeIGD) {
			d.services, d.table[testPort] = []string{wanIP1}, &igdEntry{client: "127.0.0.1", internal: testPort}
			d.refuse = func(action string, arg map[string]string) int {
				return map[string]int{"AddPortMapping": 718, "DeletePortMapping": 501}[action]
			}
		}, want: IGD1, good: true},
		{name: "718 stands for another refusal", edit: func(d *fakeIGD) { d.services, d.refuse = []string{wanIP1}, refuse(718, adds, nil) }, says: "other hosts hold all ports"},
		{name: "another mechanism uses the port (729)", edit: func(d *fakeIGD) { d.refuse = refuse(729, adds, own) }, want: IGD2, other: true},
		{name: "not allowed at all (606)", edit: func(d *fakeIGD) { d.refuse = refuse(606, adds, nil) }, says: "not allowed"},
		{name: "this port is not allowed (606)", edit: func(d *fakeIGD) { d.refuse = refuse(606, adds, own) }, want: IGD2, other: true},
		{name: "the action fails (501)", edit: func(d *fakeIGD) { d.refuse = refuse(501, adds, nil) }, says: "failed to map"},
		{name: "the action fails with a lease (501)", edit: func(d *fakeIGD) { d.refuse = refuse(501, adds, leased) }, want: IGD2, good: true},
		{name: "it wants a remote host (715)", edit: func(d *fakeIGD) { d.refuse = refuse(715, adds, nil) }, says: "one remote host"},
		{name: "it wants no external port (716)", edit: func(d *fakeIGD) { d.refuse = refuse(716, adds, nil) }, says: "its own choice", did: nil},
		{name: "both ports have to be the same (724)", edit: func(d *fakeIGD) {
			d.services, d.table[testPort] = []string{wanIP1}, &igdEntry{client: "192.168.1.77", internal: 80}
			d.refuse = refuse(724, adds, func(arg map[string]string) bool { return arg["NewExternalPort"] != arg["NewInternalPort"] })
		}, says: "hold all ports"},
		{name: "it maps only all ports (727)", edit: func(d *fakeIGD) { d.refuse = refuse(727, adds, nil) }, says: "all ports at once", did: nil},
		{name: "its table is full (728)", edit: func(d *fakeIGD) { d.refuse = refuse(728, adds, nil) }, says: "no room"},
		{name: "a code that nobody knows", edit: func(d *fakeIGD) { d.refuse = refuse(899, adds, nil) }, says: "code 899"},
		{name: "AddAnyPortMapping is missing", edit: func(d *fakeIGD) { d.refuse = refuse(401, "AddAnyPortMapping", nil) }, want: IGD2},
		{name: "AddAnyPortMapping is not implemented (602)", edit: func(d *fakeIGD) { d.refuse = refuse(602, "AddAnyPortMapping", nil) }, want: IGD2},
		{name: "it describes version 2 and speaks version 1", edit: func(d *fakeIGD) {
			d.services, d.description = []string{wanIP1}, strings.ReplaceAll(describeWith(wanIP2), "\n", "")
		}, want: IGD1},
		{name: "it cannot tell its mappings", edit: func(d *fakeIGD) { d.refuse = refuse(401, "GetSpecificPortMappingEntry", nil) }, want: IGD2},
		{name: "its address is empty", edit: func(d *fakeIGD) { d.externalIP = &empty }, want: IGD2, none: true},
		{name: "its address is 0.0.0.0", edit: func(d *fakeIGD) { d.externalIP = &zero }, want: IGD2, none: true},
		{name: "its address is a loopback one", edit: func(d *fakeIGD) { d.externalIP = &loopback }, want: IGD2, none: true},
		{name: "its address is none", edit: func(d *fakeIGD) { d.externalIP = &garbage }, want: IGD2, none: true},
		{name: "its address is a carrier's", edit: func(d *fakeIGD) { d.externalIP = &carrier }, want: IGD2, none: true},
		{name: "it answers only a search for everything", edit: func(d *fakeIGD) { d.answersOnly = "ssdp:all" }, want: IGD2},
		{name: "it answers only a search for version 1", edit: func(d *fakeIGD) { d.answersOnly = "urn:schemas-upnp-org:device:InternetGatewayDevice:1" }, want: IGD2},
		{name: "its description never ends", edit: func(d *fakeIGD) {
			d.description = "<root>" + strings.Repeat("<device>", maxDescription/4)
		}, says: "read description"},
		{name: "its description is no XML", edit: func(d *fakeIGD) { d.description = "hello" }, says: "read description"},
		{name: "its description has another charset", edit: func(d *fakeIGD) {
			d.description = strings.Replace(describeWith(wanIP2), `<?xml version="1.0"?>`, "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!-- \xe9 -->", 1)
		}, want: IGD2},
		{name: "it maps no ports", edit: func(d *fakeIGD) { d.services = []string{"urn:schemas-upnp-org:service:Layer3Forwarding:1"} }, says: "maps no ports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeGateway(t)
			f.deaf = true
			c.edit(&f.igd)
			f.start()
			r := start(t, nil, f)
			if c.want == "" {
				fault := ""
				for _, p := range []Protocol{IGD2, IGD1} {
					if len(f.igd.services) == 1 && f.igd.services[0] == wanIP1 == (p == IGD1) {
						fault = r.fault(p)
					}
				}
				if !strings.Contains(fault, c.says) {
					t.Errorf("status says %q, want %q in it", fault, c.says)
				}
				if m := r.Mappings(); len(m) != 0 {
					t.Errorf("mapped: %+v", m)
				}
				return
			}
			m := r.mapping()
			if m.Protocol != c.want || (m.External.Port() != testPort) != c.other || (m.Lifetime == 0) != c.good || m.Nested != c.none {
				t.Errorf("mapping is %+v", m)
			}
			if m.External.Port() < 1024 {
				t.Error("a port of the router's own is mapped")
			}
			if c.did != nil && !slices.Equal(f.igd.did("Add"), c.did) {
				t.Errorf("asked %q, want %q", f.igd.did("Add"), c.did)
			}
			r.stop()
			if e, there := f.igd.entry(m.External.Port()); there && e.client == "127.0.0.1" && c.name != "our own older lease cannot be deleted" {
				t.Error("the mapping is there after the end")
			}
		})
	}
}

func describeWith(service string) string {
	d := &fakeIGD{services: []string{service}}
	return d.describe()
}

// The host whom an answer, a description or a redirect names is never spoken to, unless it is the gateway.
func TestNobodyElseIsAsked(t *testing.T) {
	var visits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(other.Close)
	t.Setenv("http_proxy", other.URL)
	elsewhere, err := url.Parse(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(f *fakeGateway)
		maps bool
	}{
		{"the description is elsewhere", func(f *fakeGateway) { f.igd.location = other.URL + "/rootDesc.xml" }, false},
		{"the description is elsewhere, by name", func(f *fakeGateway) { f.igd.location = "http://localhost:" + elsewhere.Port() + "/" }, false},
		{"the description is no URL of HTTP", func(f *fakeGateway) { f.igd.location = "file:///etc/passwd" }, false},
		{"a redirect", func(f *fakeGateway) { f.igd.redirect = other.URL }, false},
		{"the base is elsewhere", func(f *fakeGateway) { f.igd.urlBase = other.URL }, false},
	} {
		f := newFakeGateway(t)
		f.deaf = true
		c.edit(f)
		f.start()
		services, err := discoverIGD(t.Context(), f.gateway())
		if err == nil {
			_, err = services[0].add(t.Context(), testPort, testPort, randomPort)
		}
		if (err == nil) != c.maps {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("somebody else was asked %d times", n)
	}
	if _, err := net.Dial("tcp", other.Listener.Addr().String()); err != nil {
		t.Errorf("the other server is not there: %v", err)
	}
}

// A gateway that shares its address with another answers with the one of its own: it is asked at the shared one.
func TestFloatingGateway(t *testing.T) {
	f := newFakeGateway(t)
	f.deaf = true
	f.start()
	own, err := url.Parse(f.igd.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	f.change(func() {
		f.igd.location = "http://192.168.1.253:" + own.Port() + "/rootDesc.xml"
		f.igd.urlBase = "http://192.168.1.253:" + own.Port() + "/"
	})
	r := start(t, nil, f)
	if m := r.mapping(); m.Protocol != IGD2 {
		t.Errorf("mapping is %+v", m)
	}
}

// Of several services the one with a connection and a public address is used, and always the same one.
func TestRankServices(t *testing.T) {
	service := func(urn, control, status, external string) *igd {
		u, _ := url.Parse("http://127.0.0.9:1" + control)
		return &igd{urn: urn, control: *u, status: status, external: externalAddr(external)}
	}
	want := []*igd{
		service(wanIP2, "/a", "Connected", "5.0.0.2"),
		service(wanIP1, "/a", "Up", "5.0.0.2"),
		service(wanIP1, "/b", "Connected", "5.0.0.2"),
		service(wanPPP1, "/a", "Connected", "5.0.0.2"),
		service(wanIP2, "/c", "Connected", "192.168.0.2"),
		service(wanIP2, "/d", "Connected", ""),
		service(wanIP2, "/e", "Disconnected", "5.0.0.2"),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	rankServices(got)
	if !slices.Equal(got, want) {
		for _, s := range got {
			t.Logf("%s %s %s %v", s.urn, s.control.Path, s.status, s.external)
		}
		t.Error("not in that order")
	}
}

// A mapping for good that the gateway lost, as at a reboot that nothing announces, is made again when it is looked at.
func TestPermanentMappingLost(t *testing.T) {
	f := newFakeGateway(t)
	f.deaf, f.igd.refuse = true, refuse(725, adds, leased)
	f.start()
	r := start(t, nil, f)
	if m := r.mapping(); m.Lifetime != 0 || !m.Expires.IsZero() {
		t.Fatalf("mapping is %+v", m)
	}
	f.change(func() { clear(f.igd.table) })
	r.HostChanged()
	r.until("the mapping made again", func() bool { _, there := f.igd.entry(testPort); return there })
}
