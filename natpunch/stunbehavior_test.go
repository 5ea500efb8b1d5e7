package natpunch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v2"
)

// offering answers as servers do of which some offer RFC 5780: other is where.
func offering(sees, other map[netip.AddrPort]netip.AddrPort) func(Send) []byte {
	return func(x Send) []byte {
		mapped, ok := sees[x.To]
		if !ok {
			return nil
		}
		m := &stun.Message{Raw: x.Data}
		if err := m.Decode(); err != nil {
			panic(err)
		}
		setters := []stun.Setter{m, stun.BindingSuccess, &stun.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())}}
		if o, ok := other[x.To]; ok {
			setters = append(setters, &stun.OtherAddress{IP: o.Addr().AsSlice(), Port: int(o.Port())})
		}
		return stun.MustBuild(setters...).Raw
	}
}

// RFC 5780, Section 4.3, from the node's own port, where answers leave a
// question and a server can settle it.
func TestMappingByOtherAddress(t *testing.T) {
	var (
		other1   = netip.MustParseAddrPort("198.51.100.9:3479")
		primary9 = netip.MustParseAddrPort("198.51.100.9:3478")
		offers   = map[netip.AddrPort]netip.AddrPort{server1: other1, primary9: second1}
	)
	tests := map[string]struct {
		servers []netip.AddrPort
		sees    map[netip.AddrPort]netip.AddrPort
		want    MappingBehavior
		asked   []netip.AddrPort // besides servers
	}{
		"one server, endpoint-independent": {
			[]netip.AddrPort{server1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, primary9: mapped1},
			EndpointIndependent,
			[]netip.AddrPort{primary9},
		},
		"one server, address-dependent": {
			[]netip.AddrPort{server1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, second1: mapped1, primary9: mapped2},
			AddressDependent,
			[]netip.AddrPort{primary9, second1},
		},
		"one server, address- and port-dependent": {
			[]netip.AddrPort{server1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, second1: netip.MustParseAddrPort("192.0.2.1:41002"), primary9: mapped2},
			AddressAndPortDependent,
			[]netip.AddrPort{primary9, second1},
		},
		"several servers, address- and port-dependent": {
			[]netip.AddrPort{server1, server2, server3},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped2, server3: mapped2, second1: mapped2},
			AddressAndPortDependent,
			[]netip.AddrPort{second1},
		},
		"several servers that agree": {
			[]netip.AddrPort{server1, server2, server3},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1, server2: mapped1, server3: mapped1},
			EndpointIndependent,
			nil,
		},
		"the other address is dead": {
			[]netip.AddrPort{server1},
			map[netip.AddrPort]netip.AddrPort{server1: mapped1},
			UnknownBehavior,
			[]netip.AddrPort{primary9},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewSTUN(tt.servers)
			s.SetLocal([]netip.Addr{netip.MustParseAddr("192.168.1.10")}, 41000)
			answer := offering(tt.sees, offers)
			var asked []netip.AddrPort
			until(t, s, epoch, epoch.Add(30*time.Second), func(x Send) []byte {
				known := false
				for _, a := range append(tt.servers, asked...) {
					known = known || a == x.To
				}
				if !known {
					asked = append(asked, x.To)
				}
				return answer(x)
			})
			if got := s.Result().IPv4.Mapping; got != tt.want {
				t.Errorf("mapping %v, want %v", got, tt.want)
			}
			if diff := cmp.Diff(tt.asked, asked, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("asked besides (-want +got):\n%s", diff)
			}
		})
	}
}

// A server cannot send this node to an address that could not be its own.
func TestOtherAddressThatIsNotAsked(t *testing.T) {
	for _, other := range []string{
		"198.51.100.1:3479",    // the same address
		"198.51.100.9:3478",    // the same port
		"198.51.100.9:53",      // a privileged port
		"192.168.1.1:3479",     // a private address
		"127.0.0.1:3479",       // this host
		"[2001:db8::1]:3479",   // another family
		"255.255.255.255:3479", // everybody
		"224.0.0.1:3479",
	} {
		s := NewSTUN([]netip.AddrPort{server1})
		answer := offering(map[netip.AddrPort]netip.AddrPort{server1: mapped1}, map[netip.AddrPort]netip.AddrPort{server1: netip.MustParseAddrPort(other)})
		sent, _ := until(t, s, epoch, epoch.Add(10*time.Second), answer)
		if diff := cmp.Diff([]string{"0s 198.51.100.1:3478"}, sent); diff != "" {
			t.Errorf("%s (-want +got):\n%s", other, diff)
		}
		if got := s.Result().IPv4; got.BehaviorDiscovery != 1 || len(got.Reflexive) != 1 {
			t.Errorf("%s: %+v", other, got)
		}
	}
}
