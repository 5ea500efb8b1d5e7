package netcheck

import (
	"net/netip"
	"testing"
)

// RFC 6052, Section 2.4, with the addresses of RFC 7050.
func TestNAT64Prefix(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"64:ff9b::c000:aa", "64:ff9b::/96"},
		{"64:ff9b::c000:ab", "64:ff9b::/96"},
		{"2001:db8:122:344::c000:aa", "2001:db8:122:344::/96"},
		{"2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"},
		{"2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"},
		{"2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"},
		{"2001:db8:1c0:0:aa::", "2001:db8:100::/40"},
		{"2001:db8:c000:aa::", "2001:db8::/32"},
		{"2001:db8::1", ""},
		{"::ffff:192.0.0.170", ""},
		{"192.0.0.170", ""},
	} {
		got := nat64Prefix(netip.MustParseAddr(tt.in))
		if tt.want == "" && got.IsValid() || tt.want != "" && got != netip.MustParsePrefix(tt.want) {
			t.Errorf("%s: %v, want %q", tt.in, got, tt.want)
		}
	}
}
