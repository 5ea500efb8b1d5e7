package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/google/go-cmp/cmp"
)

func (s *stub) Block(_ context.Context, node string) (localapi.BlockedNode, error) {
	for _, p := range s.status.Peers {
		if p.Name == node {
			n := localapi.BlockedNode{ID: p.ID, Name: p.Name, Since: time.Now()}
			s.status.Blocked = append(s.status.Blocked, n)
			return n, nil
		}
	}
	return localapi.BlockedNode{}, fmt.Errorf("no node %q in this network", node)
}

func (s *stub) Unblock(_ context.Context, node string) (localapi.BlockedNode, error) {
	for i, n := range s.status.Blocked {
		if n.Name == node || n.ID == node {
			s.status.Blocked = slices.Delete(s.status.Blocked, i, i+1)
			return n, nil
		}
	}
	return localapi.BlockedNode{}, fmt.Errorf("no node %q is blocked: \"credant block\" lists those that are", node)
}

func TestPeerRoutes(t *testing.T) {
	p := localapi.Peer{Routes: []localapi.Route{
		{Prefix: "0.0.0.0/0", State: "offered"},
		{Prefix: "192.168.7.0/24", State: "accepted"},
		{Prefix: "192.168.8.0/24", State: "standby", Reason: "it leads to nas now"},
		{Prefix: "10.0.0.0/8", State: "refused", Reason: "this host reaches 10.0.0.0/8 itself"},
	}}
	want := []string{
		"leads to 192.168.7.0/24", "offers to be an exit node",
		"route 192.168.8.0/24: standby: it leads to nas now", "route 10.0.0.0/8: refused: this host reaches 10.0.0.0/8 itself",
	}
	if diff := cmp.Diff(want, peerRoutes(p)); diff != "" {
		t.Error(diff)
	}
	p.Routes = []localapi.Route{{Prefix: "0.0.0.0/0", State: "accepted"}, {Prefix: "::/0", State: "accepted"}, {Prefix: "192.168.7.0/24", State: "offered"}}
	if diff := cmp.Diff([]string{"leads to the internet", "offers 192.168.7.0/24"}, peerRoutes(p)); diff != "" {
		t.Error(diff)
	}
}

func TestRouteFields(t *testing.T) {
	s := base()
	if f := routeFields(s); len(f) != 0 {
		t.Errorf("%v", f)
	}
	s.Self.Routes = []string{"0.0.0.0/0", "192.168.7.0/24", "::/0"}
	s.Self.ExitNode = &localapi.ExitNode{Name: "gate", State: "away"}
	s.Blocked = []localapi.BlockedNode{{}}
	var got []string
	for _, f := range routeFields(s) {
		got = append(got, f.label+": "+f.text)
	}
	want := []string{
		"offers: 192.168.7.0/24, to be an exit node", "exit node: all other traffic goes through gate, which is away",
		`blocked: 1 node: "credant block" lists them`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteBlocked(t *testing.T) {
	var b strings.Builder
	writeBlocked(&b, []localapi.BlockedNode{{ID: "mfrggzdfmztwq2lk", Name: "nas", Since: renderTime.Add(-time.Hour)}, {ID: "nbswy3dpeb3w64tm", Since: renderTime}}, renderTime)
	want := "ID                FOR           NAME\nmfrggzdfmztwq2lk  1 h           nas\nnbswy3dpeb3w64tm  0 s           -\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
