package forward

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestTableAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	table, want := newTable(), make(map[key]*flow)
	for range 20_000 {
		k := key{lo: random.Uint64N(3000), rest: random.Uint64N(2)}
		if want[k] == nil {
			want[k] = new(flow)
			table.insert(k, want[k])
		} else if random.IntN(3) > 0 {
			delete(want, k)
			table.remove(k)
		}
		if k := (key{lo: random.Uint64N(3000), rest: random.Uint64N(2)}); table.find(k) != want[k] {
			t.Fatalf("found %p under %v, want %p", table.find(k), k, want[k])
		}
	}
	got := make(map[key]*flow)
	for k, f := range table.all() {
		got[k] = f
	}
	if len(got) != len(want) || table.count != len(want) {
		t.Fatalf("%d flows listed, %d counted, want %d", len(got), table.count, len(want))
	}
	for k, f := range want {
		if got[k] != f {
			t.Fatalf("%v is listed as %p, want %p", k, got[k], f)
		}
	}
}

// Flows that stay are found at every moment while others come and go and the
// table grows.
func TestTableUnderChange(t *testing.T) {
	table, stays := newTable(), new(flow)
	const staying = 100
	for i := range uint64(staying) {
		table.insert(key{lo: i}, stays)
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				for i := range uint64(staying) {
					if table.find(key{lo: i}) != stays {
						t.Error("a flow was not found")
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range uint64(5000) {
		table.insert(key{hi: i}, new(flow))
		if i%3 == 0 {
			table.remove(key{hi: i})
		}
	}
	close(done)
	readers.Wait()
}

// What the kernel writes and what Install is given is one key.
func TestKey(t *testing.T) {
	seen := make(map[key]string)
	for index, at := range []string{"10.0.0.1:20000", "10.0.0.1:20001", "10.0.0.9:20000", "[fd00::1]:20000"} {
		own := &local{addr: netip.MustParseAddrPort(at), keyBits: keyBits(index, netip.MustParseAddrPort(at).Port())}
		sources := []string{"192.0.2.1:1", "192.0.2.1:256", "192.0.2.2:1"}
		if own.addr.Addr().Is6() {
			sources = []string{"[2001:db8::1]:1", "[2001:db8::1]:256", "[2001:db8:1::1]:1", "[::192.0.2.1]:1"}
		}
		for _, s := range sources {
			source := netip.MustParseAddrPort(s)
			var name unix.RawSockaddrInet6
			if source.Addr().Is4() {
				v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&name))
				v4.Family, v4.Port, v4.Addr = unix.AF_INET, hostOrder(source.Port()), source.Addr().As4()
			} else {
				name.Family, name.Port, name.Addr = unix.AF_INET6, hostOrder(source.Port()), source.Addr().As16()
			}
			k := newKey(source, own)
			if k != keyOf(&name, own) {
				t.Errorf("%s at %s: key %v, from the kernel %v", s, at, k, keyOf(&name, own))
			}
			if addrPort(&name) != source {
				t.Errorf("%s reads as %v", s, addrPort(&name))
			}
			if other := seen[k]; other != "" {
				t.Errorf("%s at %s has the key of %s", s, at, other)
			}
			seen[k] = s + " at " + at
		}
	}
}
