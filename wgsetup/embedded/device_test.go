package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

func openDevice(t *testing.T, ns *nstest.NS, name string) *Device {
	t.Helper()
	var d *Device
	ns.Do(func() {
		var err error
		d, err = Open(name, 1420, newSide(t), nil)
		nstest.Must(t, err)
	})
	t.Cleanup(d.Close)
	return d
}

func ipNet(s string) net.IPNet {
	p := netip.MustParsePrefix(s)
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func ptr[T any](v T) *T { return &v }

// What ConfigureDevice writes, Device reads.
func TestConfigure(t *testing.T) {
	d := openDevice(t, nstest.New(t), "wg0")
	private, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	first, second := wgtypes.Key{1}, wgtypes.Key{2}
	nstest.Must(t, d.ConfigureDevice(wgtypes.Config{
		PrivateKey: &private, ListenPort: ptr(12345), FirewallMark: ptr(0x42),
		Peers: []wgtypes.PeerConfig{
			{
				PublicKey: first, PresharedKey: &wgtypes.Key{9}, Endpoint: &net.UDPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1},
				PersistentKeepaliveInterval: ptr(25 * time.Second),
				AllowedIPs:                  []net.IPNet{ipNet("10.0.0.1/32"), ipNet("fd00::1/128")},
			},
			{PublicKey: second, Endpoint: &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 2, Zone: "lo"}},
		},
	}))
	want := &wgtypes.Device{
		Name: "wg0", Type: wgtypes.Userspace, PrivateKey: private, PublicKey: private.PublicKey(), ListenPort: 12345, FirewallMark: 0x42,
		Peers: []wgtypes.Peer{
			{
				PublicKey: first, PresharedKey: wgtypes.Key{9}, Endpoint: &net.UDPAddr{IP: net.IP{192, 0, 2, 1}, Port: 1},
				PersistentKeepaliveInterval: 25 * time.Second, ProtocolVersion: 1,
				AllowedIPs: []net.IPNet{ipNet("10.0.0.1/32"), ipNet("fd00::1/128")},
			},
			{PublicKey: second, Endpoint: &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 2, Zone: "lo"}, ProtocolVersion: 1},
		},
	}
	check := func() {
		t.Helper()
		got, err := d.Device()
		nstest.Must(t, err)
		slices.SortFunc(got.Peers, func(a, b wgtypes.Peer) int { return int(a.PublicKey[0]) - int(b.PublicKey[0]) })
		for i := range got.Peers {
			got.Peers[i].TransmitBytes = 0 // the keepalive's handshake
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("device (-want +got):\n%s", diff)
		}
	}
	check()

	// What is not there is not made by an update or a removal.
	stranger := wgtypes.Key{3}
	nstest.Must(t, d.ConfigureDevice(wgtypes.Config{Peers: []wgtypes.PeerConfig{
		{PublicKey: stranger, UpdateOnly: true, AllowedIPs: []net.IPNet{ipNet("10.0.0.1/32")}},
		{PublicKey: stranger, UpdateOnly: true, Remove: true},
		{PublicKey: second, UpdateOnly: true, AllowedIPs: []net.IPNet{ipNet("10.0.0.2/32")}},
		{PublicKey: first, UpdateOnly: true, ReplaceAllowedIPs: true, AllowedIPs: []net.IPNet{ipNet("10.0.0.3/32")}},
	}}))
	want.Peers[0].AllowedIPs = []net.IPNet{ipNet("10.0.0.3/32")}
	want.Peers[1].AllowedIPs = []net.IPNet{ipNet("10.0.0.2/32")}
	check()

	nstest.Must(t, d.ConfigureDevice(wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: first, Remove: true}}}))
	want.Peers = want.Peers[1:]
	check()
	nstest.Must(t, d.ConfigureDevice(wgtypes.Config{ReplacePeers: true, FirewallMark: ptr(0)}))
	want.Peers, want.FirewallMark = nil, 0
	check()
}

func TestPortTaken(t *testing.T) {
	ns := nstest.New(t)
	d := openDevice(t, ns, "wg0")
	ns.Do(func() {
		c, err := net.ListenUDP("udp6", &net.UDPAddr{Port: 12345})
		nstest.Must(t, err)
		defer c.Close()
		if err := d.ConfigureDevice(wgtypes.Config{ListenPort: ptr(12345)}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("taken port: %v", err)
		}
		nstest.Must(t, d.ConfigureDevice(wgtypes.Config{ListenPort: ptr(12346)}))
	})
}

func TestParseDeviceRefuses(t *testing.T) {
	secret := strings.Repeat("ab", 31)
	for _, text := range []string{
		"private_key=" + secret,
		"private_key=" + secret + "zz",
		"listen_port",
		"listen_port=many",
		"public_key=",
		"public_key=" + secret + "ab\nendpoint=host:1",
		"public_key=" + secret + "ab\nallowed_ip=10.0.0.1",
		"public_key=" + secret + "ab\npersistent_keepalive_interval=-1",
		strings.Repeat("x", 1<<17),
	} {
		_, err := parseDevice(strings.NewReader(text))
		if err == nil {
			t.Errorf("accepted %.40q", text)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("told a key: %v", err)
		}
	}
	if _, err := parseDevice(strings.NewReader("news=1\n\nlisten_port=x")); err != nil {
		t.Errorf("unknown key: %v", err)
	}
}

func TestRemovedTUNEndsTheDevice(t *testing.T) {
	ns := nstest.New(t)
	d := openDevice(t, ns, "wg0")
	ns.Run("ip", "link", "del", "wg0")
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Error("the device goes on")
	}
}

func TestServeUAPI(t *testing.T) {
	d := openDevice(t, nstest.New(t), "wgtestuapi")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.ServeUAPI(ctx) }()
	var c net.Conn
	for start := time.Now(); c == nil; time.Sleep(5 * time.Millisecond) {
		var err error
		if c, err = net.Dial("unix", uapiDirectory+"/wgtestuapi.sock"); err != nil && time.Since(start) > patience {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(c, "get=1\n\n")
	nstest.Must(t, err)
	dev, err := parseDevice(c)
	nstest.Must(t, err)
	if dev.ListenPort == 0 {
		t.Errorf("device: %+v", dev)
	}
	cancel()
	nstest.Must(t, <-served)
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("client: %v", err)
	}
	c.Close()
	if c, err := net.Dial("unix", uapiDirectory+"/wgtestuapi.sock"); err == nil {
		t.Error("the socket is still there")
		c.Close()
	}
}
