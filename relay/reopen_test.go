package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/relay/wire"
)

// Who sends to a port of an earlier life gets a reset, until the port is closed
// like any that nobody uses.
func TestReopen(t *testing.T) {
	local := netip.MustParseAddr("198.51.100.1")
	s := New(Config{Identity: wire.GenerateServer(), Ports: PortRange{30000, 30003}, Locals: []netip.Addr{local}})
	now := time.Unix(1000, 0)
	opened := func(outputs []Output) (ports []uint16) {
		for _, o := range outputs {
			if p, ok := o.(OpenPort); ok {
				ports = append(ports, p.Port)
			}
		}
		return ports
	}
	s.Reopen(now, 2)
	if got := opened(s.Advance(now)); !slices.Equal(got, []uint16{30000, 30001}) {
		t.Fatalf("opened %v, want the first two", got)
	}
	s.Reopen(now, 100)
	if got := opened(s.Advance(now)); !slices.Equal(got, []uint16{30002, 30003}) {
		t.Fatalf("opened %v, want the rest of the range", got)
	}

	packet := make([]byte, 148)
	packet[0] = 1
	from := netip.MustParseAddrPort("203.0.113.7:4000")
	s.Unknown(now, netip.AddrPortFrom(local, 30001), from, packet)
	out := s.Advance(now)
	if len(out) != 1 {
		t.Fatalf("outputs %v, want a reset", out)
	}
	if send, ok := out[0].(Send); !ok || send.To != from || send.From.Port() != 30001 {
		t.Errorf("output %v, want a reset from the port to its sender", out[0])
	}

	closed := 0
	for end := now.Add(5 * time.Minute); ; {
		at, ok := s.Next()
		if !ok || at.After(end) {
			break
		}
		for _, o := range s.Advance(at) {
			if _, ok := o.(ClosePort); ok {
				closed++
			}
		}
	}
	if st := s.Stats(); closed != 4 || st.Ports != 0 {
		t.Errorf("%d ports closed, %d open in the end, want 4 and 0", closed, st.Ports)
	}
}
