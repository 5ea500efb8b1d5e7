package scenario

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
)

// netcheckOf runs the command on a host and reads what it prints.
func netcheckOf(t *testing.T, w *world, h *lab.Host, flags ...string) (control.NetcheckReport, *localapi.NAT) {
	t.Helper()
	result, err := h.Run(w.within(3*time.Minute), append([]string{binary, "netcheck", "--json", "--portal-url", "none"}, flags...)...)
	if err != nil || result.Code != 0 {
		t.Fatalf("netcheck: %v, exit code %d: %s", err, result.Code, result.Output)
	}
	var out struct {
		control.NetcheckReport
		Node *localapi.NAT `json:"node"`
	}
	if err := json.Unmarshal([]byte(result.Stdout), &out); err != nil {
		t.Fatalf("read %q: %v", result.Output, err)
	}
	return out.NetcheckReport, out.Node
}

// netcheck tells every NAT of the lab for what it is, by a relay with two addresses.
func TestNetcheckTellsEveryNAT(t *testing.T) {
	w := newWorld(t, "embedded")
	vps := w.Host("vps")
	vps.Addresses = 2
	relay := w.relay(vps, "--no-dht")

	var nats []lab.NAT
	for _, f := range []lab.Behavior{lab.EndpointIndependent, lab.AddressDependent, lab.AddressAndPortDependent} {
		for _, ports := range []lab.Ports{lab.PortsPreserved, lab.PortsHashed} {
			nats = append(nats, lab.NAT{Mapping: lab.EndpointIndependent, Filtering: f, Ports: ports})
		}
	}
	hairpinning, sequential := lab.FullCone, lab.Symmetric
	hairpinning.Hairpin, sequential.Ports = true, lab.PortsSequential
	nats = append(nats, lab.Symmetric, hairpinning, sequential)
	hosts := make([]*lab.Host, len(nats))
	for i, nat := range nats {
		hosts[i] = w.NAT(fmt.Sprintf("r%d", i), nat).Host(fmt.Sprintf("h%d", i))
	}
	public, firewalled := w.Host("public"), w.Host("firewalled")
	firewalled.Firewall = true
	w.build()
	w.startRelay(relay)
	server := netip.AddrPortFrom(vps.IPv4()[0], 3478).String()
	server6 := netip.AddrPortFrom(vps.IPv6()[0], 3478).String()

	seconds := make([]float64, len(nats))
	t.Run("group", func(t *testing.T) { // ends when all of it has
		for i, nat := range nats {
			t.Run(nat.String(), func(t *testing.T) {
				t.Parallel() // most of it is waiting
				r, _ := netcheckOf(t, w, hosts[i], "--stun", server)
				got := r.IPv4
				if got.Mapping != string(nat.Mapping) || got.Filtering != string(nat.Filtering) {
					t.Errorf("%s mapping, %s filtering", got.Mapping, got.Filtering)
				}
				if got.PortPreserved == nil || *got.PortPreserved != (nat.Ports == lab.PortsPreserved) {
					t.Errorf("ports preserved: %v", got.PortPreserved)
				}
				if dependent := nat.Mapping != lab.EndpointIndependent; !dependent && (got.Hairpin == nil || *got.Hairpin != nat.Hairpin) {
					t.Errorf("hairpinning %v", got.Hairpin)
				}
				if sequential := nat.Ports == lab.PortsSequential; (got.Step == 1) != sequential || !sequential && got.Step != 0 {
					t.Errorf("step %d", got.Step)
				}
				if want := map[bool]string{true: "most", false: "some"}[nat.Mapping == lab.EndpointIndependent]; r.Direct != want || r.UDP != "open" || len(r.Meaning) == 0 {
					t.Errorf("direct %s, UDP %s: %q", r.Direct, r.UDP, r.Meaning)
				}
				seconds[i] = r.Seconds
			})
		}
		for name, tt := range map[string]struct {
			host              *lab.Host
			filtering, direct string
		}{
			"public":   {public, "endpoint-independent", "all"},
			"firewall": {firewalled, "address-and-port-dependent", "most"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, _ := netcheckOf(t, w, tt.host, "--stun", server, "--stun", server6)
				for _, f := range []control.NetcheckFamily{r.IPv4, r.IPv6} {
					if f.Mapping != "none" || f.Filtering != tt.filtering || !f.Internet || f.MTU != 1500 {
						t.Errorf("%+v", f)
					}
				}
				if r.IPv4.Source != tt.host.IPv4()[0] || r.Direct != tt.direct {
					t.Errorf("from %v, direct %s: %q", r.IPv4.Source, r.Direct, r.Meaning)
				}
			})
		}
	})
	if best := slices.Min(seconds); best > 10 { // the machine is busy with all of them
		t.Errorf("took %.1f s and more", best)
	}
}

// Other people's servers say the same: Debian's coturn, which offers RFC 5780, and two servers that offer nothing.
func TestNetcheckByCoturn(t *testing.T) {
	w := newWorld(t, "embedded")
	server := w.Host("coturn")
	server.Addresses = 2
	home := w.NAT("home", lab.AddressRestricted.HidePort()).Host("alice")
	away := w.NAT("away", lab.Symmetric).Host("bob")
	w.build()
	args := []string{"/usr/bin/turnserver", "-n", "--stun-only", "--no-tls", "--no-dtls", "--no-tcp", "--no-cli", "--log-file", "stdout", "--pidfile", "/dev/null"}
	for _, a := range server.IPv4() {
		args = append(args, "-L", a.String())
	}
	p, err := server.Start(lab.Program{Args: args})
	w.must(err)
	defer p.Kill()
	// Its last word at the start; with a database or without is the same to us.
	if err := p.WaitOutput(w.within(time.Minute), "SQLite DB connection"); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	for _, tt := range []struct {
		host               *lab.Host
		mapping, filtering string
	}{
		{home, "endpoint-independent", "address-dependent"},
		{away, "address-and-port-dependent", "address-and-port-dependent"},
	} {
		r, _ := netcheckOf(t, w, tt.host, "--stun", netip.AddrPortFrom(server.IPv4()[0], 3478).String())
		if r.IPv4.Mapping != tt.mapping || r.IPv4.Filtering != tt.filtering || r.IPv4.BehaviorDiscovery != 1 {
			t.Errorf("%+v\n%s", r.IPv4, p.Output())
		}
	}
}

// Behind a router that forgets idle mappings after 15 s, that is measured, here by a relay's RESPONSE-PORT.
func TestNetcheckMeasuresLifetime(t *testing.T) {
	t.Parallel() // most of it is waiting
	w := newWorld(t, "embedded")
	vps := w.Host("vps")
	vps.Addresses = 2
	relay := w.relay(vps, "--no-dht")
	nat := lab.PortRestricted.HidePort()
	nat.Lifetime = 17 * time.Second
	h := w.NAT("home", nat).Host("alice")
	w.build()
	w.startRelay(relay)
	r, _ := netcheckOf(t, w, h, "--lifetime", "--stun", netip.AddrPortFrom(vps.IPv4()[0], 3478).String())
	if r.IPv4.LifetimeSeconds != 15 {
		t.Errorf("lifetime %d s (%s); %+v", r.IPv4.LifetimeSeconds, r.IPv4.LifetimeDetail, r.IPv4)
	}
	if r.Seconds > 300 { // as the command says at its start
		t.Errorf("took %.1f s", r.Seconds)
	}
}

// UDP that is blocked is told from a host that is offline by the web, and a daemon adds what it knows of its own port.
func TestNetcheckWithoutUDP(t *testing.T) {
	w := newWorld(t, "embedded")
	blocked := w.NAT("office", lab.UDPBlocked).Host("alice")
	web := w.Host("web")
	w.build()
	var listener net.Listener
	w.must(web.Do(func() (err error) {
		listener, err = net.Listen("tcp", "0.0.0.0:443")
		return err
	}))
	status := http.StatusNoContent
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()

	url := "http://" + netip.AddrPortFrom(web.IPv4()[0], 443).String() + "/"
	stun := netip.AddrPortFrom(web.IPv4()[0], 3478).String()
	run := func(portal string) control.NetcheckReport {
		r, _ := netcheckOf(t, w, blocked, "--stun", stun, "--portal-url", portal)
		return r
	}
	if r := run(url); r.UDP != "blocked" || r.Direct != "local" || r.Portal.State != "none" {
		t.Errorf("blocked: %+v", r)
	}
	if r := run("http://" + netip.AddrPortFrom(web.IPv4()[0], 80).String() + "/"); r.UDP != "offline" || r.Portal.State != "unreachable" {
		t.Errorf("offline: %+v", r)
	}
	status = http.StatusForbidden
	if r := run(url); r.UDP != "unknown" || r.Portal.State != "captive" {
		t.Errorf("captive: %+v", r)
	}
}

// With a daemon, netcheck tells of its port as well, and people get sentences.
func TestNetcheckBesideADaemon(t *testing.T) {
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted.HidePort())
	a := w.join(home.Host("alice"))
	stunHost := w.Host("stun")
	stunHost.Addresses = 2
	w.build()
	w.startSTUN(stunHost)
	a.up("--no-dht")
	w.eventually(30*time.Second, "the mapping is known", func() bool { return a.status().Self.NAT.IPv4.Mapping == "endpoint-independent" })
	stun := w.flags[len(w.flags)-1]
	_, node := netcheckOf(t, w, a.Host, "--network", networkName, "--stun", stun)
	if node == nil || node.IPv4.Mapping != "endpoint-independent" {
		t.Errorf("of the node: %+v", node)
	}
	result, err := a.Host.Run(w.within(time.Minute), binary, "netcheck", "--network", networkName, "--stun", stun, "--portal-url", "none")
	w.must(err)
	for _, want := range []string{"IPv4 NAT", "address-and-port-dependent filtering", "This node", "direct paths work"} {
		if !strings.Contains(result.Output, want) {
			t.Errorf("does not say %q:\n%s", want, result.Output)
		}
	}
}
