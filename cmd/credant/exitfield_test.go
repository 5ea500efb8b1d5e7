package main

import (
	"strings"
	"testing"

	"github.com/credant/credant/control/localapi"
)

func TestExitField(t *testing.T) {
	for _, c := range []struct {
		state  string
		routes []string
		want   string
	}{
		{"working", []string{"0.0.0.0/0", "::/0"}, "exit node: all other traffic goes through gate"},
		{"working", []string{"0.0.0.0/0"}, "exit node: all other traffic goes through gate; no IPv6: gate carries none, and none leaves otherwise"},
		{"working", []string{"::/0"}, "exit node: all other traffic goes through gate; no IPv4: gate carries none, and none leaves otherwise"},
		{"away", []string{"0.0.0.0/0"}, "exit node: all other traffic goes through gate, which is away"},
		{"blocked", nil, "exit node: all other traffic goes through gate, which is blocked on this node"},
	} {
		var s localapi.Status
		s.Self.ExitNode = &localapi.ExitNode{Name: "gate", ID: "x", State: c.state}
		p := localapi.Peer{ID: "x"}
		for _, r := range c.routes {
			p.Routes = append(p.Routes, localapi.Route{Prefix: r})
		}
		s.Peers = []localapi.Peer{{ID: "y"}, p}
		var lines []string
		for _, f := range routeFields(s) {
			lines = append(lines, f.label+": "+f.text)
		}
		if got := strings.Join(lines, "; "); got != c.want {
			t.Errorf("%s %v: %s", c.state, c.routes, got)
		}
	}
}
