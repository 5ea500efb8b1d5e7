package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/credant/credant/discovery/wire/codec"
)

// ServerAddress is how people name a relay: HOST:PORT#KEY.
type ServerAddress struct {
	Host string // a name or an address, without brackets
	Port uint16
	Key  ServerPublic // zero: whoever answers there
}

// ParseServerAddress reads HOST[:PORT][#KEY]. An IPv6 address with a port is in
// brackets. Without a port it is DefaultPort.
func ParseServerAddress(s string) (ServerAddress, error) {
	a := ServerAddress{Port: DefaultPort}
	rest, key, hasKey := strings.Cut(s, "#")
	if hasKey {
		var err error
		if a.Key, err = ParseServerPublic(key); err != nil {
			return ServerAddress{}, fmt.Errorf("parse relay %q: %w", s, err)
		}
	}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return ServerAddress{}, fmt.Errorf("parse relay %q: %w", s, err)
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return ServerAddress{}, fmt.Errorf("parse relay %q: port %q is not 1 to 65535", s, port)
		}
		a.Port = uint16(n)
	}
	var ok bool
	if a.Host, ok = cleanHost(host); !ok {
		return ServerAddress{}, fmt.Errorf("parse relay %q: want HOST:PORT#KEY, as credant-relay prints it", s)
	}
	return a, nil
}

// splitHostPort is net.SplitHostPort for what may have no port.
func splitHostPort(s string) (host, port string, err error) {
	bracketed := strings.HasPrefix(s, "[")
	switch {
	case bracketed && strings.HasSuffix(s, "]"):
		return s[1 : len(s)-1], "", nil
	case !bracketed && strings.Count(s, ":") != 1: // a name, or IPv6 without a port
		return s, "", nil
	}
	host, port, err = net.SplitHostPort(s)
	if err == nil && port == "" {
		err = errors.New("no port after the colon")
	}
	return host, port, err
}

// cleanHost gives an address its one form.
func cleanHost(s string) (host string, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return a.String(), a.Zone() == "" && codec.ValidHost(a)
	}
	if s == "" || len(s) > 253 || strings.Contains(s, "..") || s[0] == '.' || s[0] == '-' {
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return "", false
		}
	}
	return s, true
}

// AddrPort is the address where Host is not a name.
func (a ServerAddress) AddrPort() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(a.Host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), a.Port), true
}

// String writes HOST:PORT#KEY, or HOST:PORT where no key is known.
func (a ServerAddress) String() string {
	s := net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
	if !a.Key.IsZero() {
		s += "#" + a.Key.String()
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (a ServerAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *ServerAddress) UnmarshalText(text []byte) error {
	p, err := ParseServerAddress(string(text))
	if err != nil {
		return err
	}
	*a = p
	return nil
}
