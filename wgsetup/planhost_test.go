package wgsetup

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSettings are a host's.
type fakeSettings map[string]string

func plainHost() fakeSettings {
	return fakeSettings{
		forwardSetting4: "0", forwardSetting6: "0", markSetting: "0",
		acceptRouters("default"): "1", acceptRouters("eth0"): "1", acceptRouters("eth1"): "0",
	}
}

func (f fakeSettings) read(path string) string { return f[path] }

func (f fakeSettings) carryOut(p hostPlan) (after record) {
	for _, s := range slices.Concat(p.set, p.back) {
		f[s.path] = s.value
	}
	return p.after
}

func alone(string) (string, bool) { return "", false }

func TestPlanHost(t *testing.T) {
	links := hostLinks{plain: []string{"eth0", "eth1"}, bridges: []string{"br0"}}
	both := &Forward{Advertised: prefixes("192.168.1.0/24", "fd01::/64")}
	for name, c := range map[string]struct {
		host  fakeSettings
		want  Desired
		after fakeSettings // what differs
		first string       // of the steps: a host must not forget its routers
	}{
		"nothing":          {plainHost(), Desired{}, nil, ""},
		"IPv4":             {plainHost(), Desired{Forward: &Forward{Advertised: prefixes("192.168.1.0/24")}}, fakeSettings{forwardSetting4: "1"}, ""},
		"both":             {plainHost(), Desired{Forward: both}, fakeSettings{forwardSetting4: "1", forwardSetting6: "1", acceptRouters("default"): "2", acceptRouters("eth0"): "2"}, acceptRouters("default")},
		"exit":             {plainHost(), Desired{Exit: &Exit{V4: true, V6: true}}, fakeSettings{markSetting: "1"}, ""},
		"IPv6 exit":        {plainHost(), Desired{Exit: &Exit{V6: true}}, nil, ""},
		"a router":         {fakeSettings{forwardSetting4: "1", forwardSetting6: "1", acceptRouters("eth0"): "1"}, Desired{Forward: both}, nil, ""},
		"no IPv6":          {fakeSettings{forwardSetting4: "0"}, Desired{Forward: both}, fakeSettings{forwardSetting4: "1"}, ""},
		"internet carrier": {plainHost(), Desired{Forward: &Forward{Exit: true}}, fakeSettings{forwardSetting4: "1", forwardSetting6: "1", acceptRouters("default"): "2", acceptRouters("eth0"): "2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			host := maps.Clone(c.host)
			p := planHost(c.want, record{}, links, host.read, alone)
			if c.first != "" && p.set[0].path != c.first {
				t.Errorf("first step %v", p.set[0])
			}
			left := host.carryOut(p)
			want := maps.Clone(c.host)
			maps.Copy(want, c.after)
			if diff := cmp.Diff(want, host); diff != "" {
				t.Error(diff)
			}
			if again := planHost(c.want, left, links, host.read, alone); len(again.set)+len(again.back) != 0 {
				t.Errorf("planned twice: %+v", again)
			}
			// What the next start reads is what this one left.
			left = parseRecord(append(left.names(), "forward", "nat"))
			left = host.carryOut(planHost(Desired{}, left, links, host.read, alone))
			if diff := cmp.Diff(c.host, host); diff != "" {
				t.Errorf("not put back: %s", diff)
			}
			if len(left.names()) > 0 {
				t.Errorf("left: %v", left.names())
			}
		})
	}
}

// Somebody who came later and forwards too is not cut off.
func TestPlanHostLeavesOthersForwarding(t *testing.T) {
	host, links := plainHost(), hostLinks{plain: []string{"eth0"}}
	left := host.carryOut(planHost(Desired{Forward: &Forward{Exit: true}}, record{}, links, host.read, alone))
	links.bridges = []string{"docker0"}
	host.carryOut(planHost(Desired{}, left, links, host.read, alone))
	if host[forwardSetting4] != "1" {
		t.Error("forwarding was switched off under Docker")
	}
	// An administrator's own change stays.
	host, links = plainHost(), hostLinks{plain: []string{"eth0"}}
	left = host.carryOut(planHost(Desired{Forward: &Forward{Exit: true}}, record{}, links, host.read, alone))
	host[acceptRouters("eth0")] = "0"
	host.carryOut(planHost(Desired{}, left, links, host.read, alone))
	if host[acceptRouters("eth0")] != "0" || host[forwardSetting4] != "0" {
		t.Errorf("settings: %v", host)
	}
}

func TestRecord(t *testing.T) {
	r := record{
		was:     map[string]string{forwardSetting4: "0", acceptRouters("eth0.100"): "1", acceptRouters("wl@n:1"): "1"},
		plain:   []string{"eth0.100", "wl@n:1", "a_b-c"},
		bridges: []string{"br0"},
	}
	if diff := cmp.Diff(r, parseRecord(r.names()), cmp.AllowUnexported(record{})); diff != "" {
		t.Error(diff)
	}
	// Whoever writes the table is not to choose which file is written.
	for _, bad := range []string{
		"was/kernel/core_pattern/x", "was/net/ipv6/conf/.2e.2e/accept_ra/1", "was/net/ipv6/conf/a/b/accept_ra/1",
		"was/net/ipv4/ip_forward", "was/net/ipv4/ip_forward/7", "was/.2", "was/", "was", "forward",
	} {
		if got := parseRecord([]string{bad}); len(got.was) > 0 {
			t.Errorf("%s: %v", bad, got.was)
		}
	}
}
