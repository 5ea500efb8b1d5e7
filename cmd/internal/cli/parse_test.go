package cli

import "testing"

func TestParseHostPort(t *testing.T) {
	parse := ParseHostPort("vpn.example.org:23000")
	for _, s := range []string{"example.org:1", "127.0.0.1:65535", "[2001:db8::1]:443", "[fe80::1%eth0]:1", "a_b.example:1"} {
		if got, err := parse(s); err != nil || got != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	const want = `: give HOST:PORT, such as vpn.example.org:23000 or [2001:db8::1]:23000`
	for _, s := range []string{"", "example.org", ":1", "a:0", "a:65536", "a:http", "a b:1", "u@a:1", "http://a:1", "2001:db8::1:443", "a/b:1", "é:1"} {
		if got, err := parse(s); err == nil || err.Error() != `"`+s+`"`+want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}
