package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// A relay's host gets an IPv6 address after it has booted, then another IPv4 address in the place of its first one. The
// relay serves at each as it comes, prints and announces it, and loses no packet of those who need no address that goes.
// Those who do find it again by its key.
func TestRelayMoves(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	outside := w.Host("outside")
	host := w.Host("vps")
	vps := w.relay(host)
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	came4, came6 := host.IPv4()[0], host.IPv6()[0]
	first4 := came4.Next()
	comes := func(addr netip.Addr, bits int) {
		t.Helper()
		w.output(host, "ip", "address", "add", fmt.Sprintf("%s/%d", addr, bits), "dev", "eth0")
	}
	w.output(host, "sysctl", "-w", "net.ipv4.conf.eth0.promote_secondaries=1") // else the others of a prefix go with the first
	comes(first4, 24)
	w.forgetIPv4(host)
	w.forgetIPv6(host)
	vps.Flags = w.flags
	w.startRelay(vps)
	w.flags = append(w.flags, "--no-stun", "--no-lan", "--relay", vps.At(first4))
	w.relayed(a, b)
	if said := vps.Daemon().Output(); strings.Contains(said, came6.String()) || strings.Contains(said, came4.String()) {
		t.Fatalf("it has its later addresses already:\n%s", said)
	}

	served := func(addr netip.Addr) {
		t.Helper()
		w.eventually(10*time.Second, "the relay says that it serves "+addr.String(), func() bool {
			return strings.Contains(vps.Daemon().Output(), "--relay "+vps.At(addr))
		})
		w.eventually(10*time.Second, "STUN at "+addr.String(), func() bool {
			result, err := outside.Run(w.within(15*time.Second), "turnutils_stunclient", "-p", "3478", addr.String())
			return err == nil && result.Code == 0 && strings.Contains(result.Stdout, "reflexive addr: "+sameFamily(outside, addr))
		})
	}

	streams := w.streams(a, b, 200)
	comes(came6, 64)
	served(came6)
	comes(came4, 24) // there is room for both
	served(came4)
	w.noneLost(streams)

	w.forget(host, []netip.Addr{first4})
	w.eventually(10*time.Second, "the relay gives up "+first4.String(), func() bool {
		return strings.Contains(vps.Daemon().Output(), `gone=`+first4.String())
	})
	served(came4)
	served(came6)
	// Nobody told the nodes: they look in the DHT for where the relay's key is now.
	_, took := b.reach(a, 3*time.Minute)
	t.Logf("relayed again after %v", took.Round(time.Millisecond))
	there, _ := a.peer(b)
	if there.Path != "relay" || !strings.HasPrefix(there.Endpoint, came4.String()+":") {
		t.Errorf("path %s through %s, want the relay at %s", there.Path, there.Endpoint, came4)
	}
}

// sameFamily is the host's address of the family of addr.
func sameFamily(h *lab.Host, addr netip.Addr) string {
	if addr.Is4() {
		return h.IPv4()[0].String()
	}
	return h.IPv6()[0].String()
}
