package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control"
)

// netcheckWith runs the command over a made-up report.
func netcheckWith(t *testing.T, report control.NetcheckReport, args ...string) (out string, got control.NetcheckConfig) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, etc: t.TempDir(), run: t.TempDir(),
		node: node{netcheck: func(_ context.Context, c control.NetcheckConfig) (control.NetcheckReport, error) {
			got = c
			return report, nil
		}},
	}
	if code := p.execute(t.Context(), append([]string{"netcheck"}, args...)); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return stdout.String(), got
}

func testReport() control.NetcheckReport {
	yes := true
	return control.NetcheckReport{
		UDP: "open",
		IPv4: control.NetcheckFamily{
			Source: netip.MustParseAddr("192.168.1.10"), MTU: 1500, Internet: true,
			Mapping: "address-and-port-dependent", Filtering: "address-dependent", PortPreserved: &yes, Step: -2,
			LowPort: 40000, HighPort: 40999, LifetimeSeconds: 30, Reflexive: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:40001")},
		},
		NAT64:   netip.MustParsePrefix("64:ff9b::/96"),
		Portal:  control.NetcheckPortal{State: "captive", Location: "http://login.example/\x1b[2J"},
		Meaning: []string{"It is so.", "And so."},
		Gateways: []control.GatewayReport{
			{Gateway: netip.MustParseAddr("192.168.1.1")},
		},
	}
}

func TestNetcheckText(t *testing.T) {
	out, c := netcheckWith(t, testReport(), "--stun", "stun.example:3478", "--lifetime")
	want := `UDP          gets to the internet
IPv4         192.168.1.10, seen as 192.0.2.1, MTU 1500
IPv4 NAT     address-and-port-dependent mapping, address-dependent filtering,
             ports preserved, step -2, ports 40000-40999, mappings live 30s or
             longer
IPv6         none
NAT64        64:ff9b::/96
Login        a page is in front of the internet http://login.example/?[2J
Gateway      192.168.1.1: speaks no protocol for port mapping

It is so.

And so.
`
	if out != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out, want)
	}
	if !c.Lifetime || len(c.STUN) != 1 || c.STUN[0] != "stun.example:3478" || c.PortalURL != control.DefaultPortalURL {
		t.Errorf("asked for %+v", c)
	}
	if _, c := netcheckWith(t, testReport(), "--portal-url", "none"); c.PortalURL != "" || c.Lifetime || len(c.STUN) > 0 {
		t.Errorf("asked for %+v", c)
	}
}

// docs/netcheck.md names every field of the JSON.
func TestNetcheckFieldsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/netcheck.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	seen := 0
	walk = func(rt reflect.Type) {
		for rt.Kind() == reflect.Slice || rt.Kind() == reflect.Pointer {
			rt = rt.Elem()
		}
		if rt.Kind() != reflect.Struct || !strings.Contains(rt.PkgPath(), "natpunch") {
			return
		}
		for f := range rt.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "-" {
				continue
			}
			seen++
			if name == "" || !bytes.Contains(b, []byte("`"+name+"`")) {
				t.Errorf("%v: %s is not in docs/netcheck.md", rt, f.Name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[control.NetcheckReport]())
	if seen < 30 {
		t.Errorf("only %d fields were found", seen)
	}
	out, _ := netcheckWith(t, testReport(), "--json")
	var back control.NetcheckReport
	if err := json.Unmarshal([]byte(out), &back); err != nil || back.IPv4.Step != -2 || back.NAT64.Bits() != 96 {
		t.Errorf("%v: %s", err, out)
	}
}
