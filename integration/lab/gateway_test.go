package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/portmap"
)

// mapperEnv has this test program map a port as a node would: sockets belong to the namespaces of a process.
const mapperEnv = "LAB_MAPPER"

type mapperTask struct {
	Gateway portmap.Gateway
	Port    uint16
	State   portmap.State
	Probe   bool
}

type mapperNews struct {
	Mappings []portmap.Mapping
	State    portmap.State
}

func runMapper(task string) error {
	var c mapperTask
	if err := json.Unmarshal([]byte(task), &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if c.Probe {
		return json.NewEncoder(os.Stdout).Encode(portmap.Probe(ctx, c.Gateway))
	}
	news := make(chan struct{}, 1)
	saved := make(chan portmap.State, 8)
	m := portmap.New(portmap.Config{
		Port:     func() uint16 { return c.Port },
		Gateways: func() ([]portmap.Gateway, error) { return []portmap.Gateway{c.Gateway}, nil },
		State:    c.State,
		Save:     func(s portmap.State) { saved <- s },
		Changed: func() {
			select {
			case news <- struct{}{}:
			default:
			}
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	n := mapperNews{State: c.State}
	for {
		select {
		case err := <-done:
			return err
		case <-news:
		case n.State = <-saved:
		}
		n.Mappings = m.Mappings()
		if err := json.NewEncoder(os.Stdout).Encode(n); err != nil {
			return err
		}
	}
}

// startMapper runs a Mapper on a host.
func startMapper(t *testing.T, h *Host, task mapperTask) *Process {
	t.Helper()
	b, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Start(Program{Args: []string{program}, Env: []string{mapperEnv + "=" + string(b)}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mappedBy waits for a mapper's mapping and state.
func mappedBy(t *testing.T, ctx context.Context, p *Process) (portmap.Mapping, portmap.State) {
	t.Helper()
	for {
		grown := p.stdout.grown()
		for _, line := range bytes.Split([]byte(p.stdout.String()), []byte("\n")) {
			var n mapperNews
			if json.Unmarshal(line, &n) == nil && len(n.Mappings) == 1 && len(n.State.Leases) == 1 {
				return n.Mappings[0], n.State
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatalf("no mapping; the mapper says: %s", p.Output())
		}
	}
}

// eventually waits for what the router's rules say.
func eventually(t *testing.T, ctx context.Context, g *Gateway, to netip.AddrPort, want bool) {
	t.Helper()
	for {
		got, err := g.Mapped(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			rules, _ := g.Rules(t.Context())
			t.Fatalf("mapping to %v: %v, want %v; rules: %s; miniupnpd says: %s", to, got, want, rules, g.Output())
		}
	}
}

func gateway4(h *Host) portmap.Gateway {
	return portmap.Gateway{Iface: "eth0", Local: h.IPv4()[0], Addr: hostOf(h.Uplink.prefix4, 1)}
}

// A real router's mapping appears, lets strangers in, survives a reboot and is gone at the end, in each protocol.
func TestGatewayMaps(t *testing.T) {
	const port = 23456
	for _, c := range []struct {
		name   string
		config GatewayConfig
		want   portmap.Protocol
	}{
		{"pcp", GatewayConfig{NoUPnP: true}, portmap.PCP}, // which a busy router may offer sooner
		{"igd2", GatewayConfig{NoPMP: true}, portmap.IGD2},
		{"igd1", GatewayConfig{NoPMP: true, IGD1: true}, portmap.IGD1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := New()
			stranger := l.Host("stranger")
			home := l.NAT("home", PortRestricted)
			home.Gateway = true
			host := home.Host("host")
			build(t, l)
			ctx := within(t, patience)
			g, err := home.StartGateway(ctx, c.config)
			must(t, err)
			inner := netip.AddrPortFrom(host.IPv4()[0], port)
			conn, err := host.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
			must(t, err)
			defer conn.Close()

			p := startMapper(t, host, mapperTask{Gateway: gateway4(host), Port: port})
			m, _ := mappedBy(t, ctx, p)
			if m.Protocol != c.want || m.External != netip.AddrPortFrom(home.PublicIPv4(), port) || m.Nested || m.Pinhole {
				t.Fatalf("mapping is %+v", m)
			}
			eventually(t, ctx, g, inner, true)
			out, err := stranger.ListenUDP(netip.AddrPortFrom(stranger.IPv4()[0], 7000))
			must(t, err)
			defer out.Close()
			_, err = out.WriteToUDPAddrPort([]byte("hello"), m.External)
			must(t, err)
			if _, ok := receive(t, conn, "hello", patience); !ok {
				t.Error("a stranger's datagram does not come through")
			}
			if c.want == portmap.PCP {
				// It announces that it came up, and nothing else tells that the mapping is lost. Until its count has gone
				// on for some seconds, one that begins anew looks like a datagram that was overtaken.
				select {
				case <-time.After(5 * time.Second):
				case <-ctx.Done():
				}
				must(t, g.Reboot(ctx))
				eventually(t, ctx, g, inner, true)
			}
			must(t, p.Signal(syscall.SIGTERM))
			if code, err := p.Wait(ctx); err != nil || code != 0 {
				t.Fatalf("the mapper ended with %d, %v: %s", code, err, p.Output())
			}
			eventually(t, ctx, g, inner, false)
		})
	}
}

// A mapping is renewed at half of its life, and after a crash the same port is had under the same nonce.
func TestGatewayRenews(t *testing.T) {
	l := New()
	home := l.NAT("home", PortRestricted)
	home.Gateway = true
	host := home.Host("host")
	build(t, l)
	ctx := within(t, patience)
	g, err := home.StartGateway(ctx, GatewayConfig{NoUPnP: true})
	must(t, err)
	task := mapperTask{Gateway: gateway4(host), Port: 23456}
	p := startMapper(t, host, task)
	first, state := mappedBy(t, ctx, p)
	p.Kill()
	eventually(t, ctx, g, netip.AddrPortFrom(host.IPv4()[0], 23456), true)
	task.State = state
	again, _ := mappedBy(t, ctx, startMapper(t, host, task))
	if again.External != first.External || again.Protocol != portmap.PCP || again.Lifetime > 2*time.Hour || again.Lifetime < time.Minute {
		t.Errorf("first %+v, after a crash %+v", first, again)
	}
}

// NAT-PMP cannot be had alone from this router; what go-nat-pmp does with it, a probe shows.
func TestGatewayProbe(t *testing.T) {
	for _, c := range []struct {
		name   string
		nested bool
		config GatewayConfig
		want   string // protocols that work, with the address they tell
	}{
		{"all", false, GatewayConfig{}, "pcp %v, nat-pmp %v, upnp-igd2 %v"},
		{"igd1", false, GatewayConfig{NoPMP: true, IGD1: true}, "upnp-igd1 %v"},
		{"no UPnP", false, GatewayConfig{NoUPnP: true}, "pcp %v, nat-pmp %v"},
		{"at a carrier", true, GatewayConfig{}, "upnp-igd2 invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := New()
			home := l.NAT("home", PortRestricted)
			if c.nested {
				home.LAN = netip.MustParsePrefix("100.64.7.0/24")
				home = home.Router("inner", PortRestricted)
			}
			home.Gateway = true
			host := home.Host("host")
			build(t, l)
			ctx := within(t, patience)
			g, err := home.StartGateway(ctx, c.config)
			must(t, err)
			want := strings.ReplaceAll(c.want, "%v", home.PublicIPv4().String())
			for try := 1; ; try++ {
				got, report := probe(t, ctx, host)
				if got == want {
					break
				}
				if try == 5 || !strings.Contains(report, "no answer") { // in time, which a busy router may miss
					t.Errorf("these work: %s\nwant: %s\nreport: %s\nminiupnpd says: %s", got, want, report, g.Output())
					break
				}
			}
			if rules, err := g.Rules(ctx); err != nil || strings.Contains(rules, "wan") {
				t.Errorf("something is left behind: %s, %v", rules, err)
			}
		})
	}
}

// probe returns which protocols work, with the address they tell, and the whole report.
func probe(t *testing.T, ctx context.Context, h *Host) (works, report string) {
	t.Helper()
	p := startMapper(t, h, mapperTask{Gateway: gateway4(h), Probe: true})
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		t.Fatalf("the probe ended with %d, %v: %s", code, err, p.Output())
	}
	var found portmap.Report
	must(t, json.Unmarshal([]byte(p.stdout.String()), &found))
	var list []string
	for _, r := range found.Protocols {
		if r.Error == "" {
			list = append(list, fmt.Sprintf("%s %v", r.Protocol, r.External))
		}
	}
	return strings.Join(list, ", "), fmt.Sprintf("%+v", found)
}

// A router that allows nothing is asked for one more port, and then left alone.
func TestGatewayRefuses(t *testing.T) {
	l := New()
	home := l.NAT("home", PortRestricted)
	home.Gateway = true
	host := home.Host("host")
	build(t, l)
	ctx := within(t, patience)
	// Its PCP tries each of 65,536 ports against its rules before it answers that, in many seconds.
	g, err := home.StartGateway(ctx, GatewayConfig{Deny: true, NoPMP: true})
	must(t, err)
	p := startMapper(t, host, mapperTask{Gateway: gateway4(host), Port: 23456})
	must(t, p.WaitOutput(ctx, "the gateway has no room for another mapping")) // what 728, its refusal, says
	if rules, err := g.Rules(ctx); err != nil || strings.Contains(rules, "wan") {
		t.Errorf("mapped all the same: %s, %v", rules, err)
	}
}

// Behind a carrier's NAT nothing is mapped, and it is said why.
func TestGatewayNested(t *testing.T) {
	l := New()
	carrier := l.NAT("carrier", PortRestricted)
	carrier.LAN = netip.MustParsePrefix("100.64.7.0/24")
	home := carrier.Router("home", PortRestricted)
	home.Gateway = true
	host := home.Host("host")
	build(t, l)
	ctx := within(t, patience)
	_, err := home.StartGateway(ctx, GatewayConfig{})
	must(t, err)
	p := startMapper(t, host, mapperTask{Gateway: gateway4(host), Port: 23456})
	must(t, p.WaitOutput(ctx, "the gateway has no public address"))
}

// Over IPv6 the firewall of the router opens for the host's own address.
func TestGatewayPinhole(t *testing.T) {
	const port = 23456
	l := New()
	stranger := l.Host("stranger")
	home := l.NAT("home", PortRestricted)
	home.Gateway, home.IPv6 = true, true
	host := home.Host("host")
	build(t, l)
	ctx := within(t, patience)
	g, err := home.StartGateway(ctx, GatewayConfig{})
	must(t, err)
	inner := netip.AddrPortFrom(host.IPv6()[0], port)
	conn, err := host.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	must(t, err)
	defer conn.Close()
	out, err := stranger.ListenUDP(netip.AddrPortFrom(stranger.IPv6()[0], 7000))
	must(t, err)
	defer out.Close()
	_, err = out.WriteToUDPAddrPort([]byte("early"), inner)
	must(t, err)
	if _, ok := receive(t, conn, "early", 300*time.Millisecond); ok {
		t.Fatal("the firewall is open")
	}

	p := startMapper(t, host, mapperTask{Port: port, Gateway: portmap.Gateway{
		Iface: "eth0", Local: host.IPv6()[0], Addr: hostOf(host.Uplink.prefix6, 1),
	}})
	m, _ := mappedBy(t, ctx, p)
	if m.Protocol != portmap.PCP || m.External != inner || m.Nested || !m.Pinhole {
		t.Fatalf("mapping is %+v", m)
	}
	eventually(t, ctx, g, inner, true)
	_, err = out.WriteToUDPAddrPort([]byte("hello"), inner)
	must(t, err)
	if _, ok := receive(t, conn, "hello", patience); !ok {
		t.Error("a stranger's datagram does not come through")
	}
	must(t, p.Signal(syscall.SIGTERM))
	if _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, g, inner, false)
}
