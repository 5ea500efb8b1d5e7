package portmap

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A fakeIGD is the UPnP of a fakeGateway.
type fakeIGD struct {
	f *fakeGateway

	off      bool
	services []string // service types in the description
	table    map[uint16]*igdEntry
	actions  []string // asked for, with what matters of the arguments

	location    string // in answers to searches; empty: where the description is
	answersOnly string // to this search target
	description string // in place of the one that services make
	urlBase     string
	externalIP  *string // in place of the gateway's
	redirect    string
	// refuse returns a code of UPnP for a request, or zero.
	refuse func(action string, arg map[string]string) int
	// crash tells whether the connection is cut instead of an answer.
	crash func(action string, arg map[string]string) bool
	// forgets says that a mapping is granted and not made.
	forgets func(arg map[string]string) bool

	server *httptest.Server
}

type igdEntry struct {
	client   string
	internal uint16
	lease    int
}

const (
	wanIP2    = "urn:schemas-upnp-org:service:WANIPConnection:2"
	wanIP1    = "urn:schemas-upnp-org:service:WANIPConnection:1"
	wanPPP1   = "urn:schemas-upnp-org:service:WANPPPConnection:1"
	legacyIP1 = "urn:dslforum-org:service:WANIPConnection:1"
)

func (d *fakeIGD) init(f *fakeGateway) {
	d.f, d.services, d.table = f, []string{wanIP2}, map[uint16]*igdEntry{}
}

func (d *fakeIGD) start() {
	t := d.f.t
	if d.off {
		return
	}
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(d.f.addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	d.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: d}}
	d.server.Start()
	t.Cleanup(d.server.Close)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.f.addr, ssdpPort)))
	if err != nil {
		t.Fatal(err)
	}
	d.f.serve(conn, d.answer)
}

// answer answers a search.
func (d *fakeIGD) answer(b []byte) [][]byte {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	_, target, _ := strings.Cut(string(b), "\r\nST: ")
	target, _, _ = strings.Cut(target, "\r\n")
	if d.answersOnly != "" && target != d.answersOnly {
		return nil
	}
	location := d.location
	if location == "" {
		location = d.server.URL + "/rootDesc.xml"
	}
	return [][]byte{fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: %s\r\nUSN: uuid:1::%s\r\nEXT:\r\nLOCATION: %s\r\n\r\n", target, target, location)}
}

func (d *fakeIGD) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if d.redirect != "" {
		http.Redirect(w, r, d.redirect, http.StatusFound)
		return
	}
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, d.describe())
		return
	}
	service, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPAction"), `"`), "#")
	arg := soapArguments(r.Body)
	d.actions = append(d.actions, strings.TrimSpace(action+" "+arg["NewExternalPort"]+" "+arg["NewLeaseDuration"]))
	if d.crash != nil && d.crash(action, arg) {
		panic(http.ErrAbortHandler)
	}
	code, out := d.act(service, action, arg)
	if code != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>`+
			`<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">`+
			`<errorCode>%d</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code)
		return
	}
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:%sResponse xmlns:u="%s">%s</u:%sResponse></s:Body></s:Envelope>`,
		action, service, out, action)
}

func soapArguments(r io.Reader) map[string]string {
	arg := map[string]string{}
	decoder := xml.NewDecoder(r)
	name := ""
	for {
		token, err := decoder.Token()
		if err != nil {
			return arg
		}
		switch x := token.(type) {
		case xml.StartElement:
			name = x.Name.Local
		case xml.CharData:
			if strings.HasPrefix(name, "New") {
				arg[name] += string(x)
			}
		case xml.EndElement:
			name = ""
		}
	}
}

func (d *fakeIGD) describe() string {
	if d.description != "" {
		return d.description
	}
	var services strings.Builder
	for i, s := range d.services {
		fmt.Fprintf(&services, "<service><serviceType>%s</serviceType><serviceId>s%d</serviceId><SCPDURL>/x</SCPDURL><controlURL>/ctl/%d</controlURL><eventSubURL>/e</eventSubURL></service>", s, i, i)
	}
	base := ""
	if d.urlBase != "" {
		base = "<URLBase>" + d.urlBase + "</URLBase>"
	}
	return `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>` + base +
		`<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device><deviceList><device><serviceList>` +
		services.String() + `</serviceList></device></deviceList></device></deviceList></device></root>`
}

// act is what a well-behaved gateway does, after what refuse says.
func (d *fakeIGD) act(service, action string, arg map[string]string) (code int, out string) {
	if !slices.Contains(d.services, service) {
		return 401, ""
	}
	if d.refuse != nil {
		if code := d.refuse(action, arg); code != 0 {
			return code, ""
		}
	}
	port64, _ := strconv.ParseUint(arg["NewExternalPort"], 10, 16)
	port := uint16(port64)
	switch action {
	case "GetStatusInfo":
		return 0, "<NewConnectionStatus>Connected</NewConnectionStatus><NewLastConnectionError>ERROR_NONE</NewLastConnectionError><NewUptime>5</NewUptime>"
	case "GetExternalIPAddress":
		ip := d.f.external.String()
		if d.externalIP != nil {
			ip = *d.externalIP
		}
		return 0, "<NewExternalIPAddress>" + ip + "</NewExternalIPAddress>"
	case "AddPortMapping", "AddAnyPortMapping":
		return d.add(service, action, port, arg)
	case "GetSpecificPortMappingEntry":
		e := d.table[port]
		if e == nil {
			return 714, ""
		}
		return 0, fmt.Sprintf("<NewInternalPort>%d</NewInternalPort><NewInternalClient>%s</NewInternalClient><NewEnabled>1</NewEnabled>"+
			"<NewPortMappingDescription>x</NewPortMappingDescription><NewLeaseDuration>%d</NewLeaseDuration>", e.internal, e.client, e.lease)
	case "DeletePortMapping":
		if d.table[port] == nil {
			return 714, ""
		}
		delete(d.table, port)
		return 0, ""
	}
	return 401, ""
}

func (d *fakeIGD) add(service, action string, port uint16, arg map[string]string) (code int, out string) {
	if action == "AddAnyPortMapping" && service != wanIP2 {
		return 401, ""
	}
	if arg["NewProtocol"] != "UDP" || port < 1024 {
		return 402, ""
	}
	internal, _ := strconv.ParseUint(arg["NewInternalPort"], 10, 16)
	lease, _ := strconv.Atoi(arg["NewLeaseDuration"])
	if e := d.table[port]; e != nil && (e.client != arg["NewInternalClient"] || e.internal != uint16(internal)) {
		if action == "AddPortMapping" {
			return 718, ""
		}
		port += 1000
	}
	if d.forgets == nil || !d.forgets(arg) {
		d.table[port] = &igdEntry{client: arg["NewInternalClient"], internal: uint16(internal), lease: lease}
	}
	if action == "AddAnyPortMapping" {
		out = fmt.Sprintf("<NewReservedPort>%d</NewReservedPort>", port)
	}
	return 0, out
}

// entry returns what is in the table.
func (d *fakeIGD) entry(port uint16) (igdEntry, bool) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if e := d.table[port]; e != nil {
		return *e, true
	}
	return igdEntry{}, false
}

// did returns the actions that began with one of the prefixes, in order.
func (d *fakeIGD) did(prefixes ...string) []string {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	var list []string
	for _, a := range d.actions {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(a, p) }) {
			list = append(list, a)
		}
	}
	return list
}

// patience is how long a test waits for what should come soon, on a machine that has much else to do.
const patience = time.Minute
