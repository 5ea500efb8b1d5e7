package embedded

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// BenchmarkTunnel measures TCP through two devices on this host. The budget is
// 0.98 of what wireguard-go does with its own Bind.
func BenchmarkTunnel(b *testing.B) {
	for _, bind := range []struct {
		name string
		make func() conn.Bind
	}{
		{"ours", func() conn.Bind { return NewBind(newSide(b)) }},
		{"wireguard-go", conn.NewDefaultBind},
	} {
		b.Run("bind="+bind.name, func(b *testing.B) { benchmarkTunnel(b, bind.make) })
	}
}

func benchmarkTunnel(b *testing.B, newBind func() conn.Bind) {
	const chunk = 1 << 20
	nsA, nsB := hosts(b)
	keys := [2]wgtypes.Key{}
	for i := range keys {
		key, err := wgtypes.GeneratePrivateKey()
		nstest.Must(b, err)
		keys[i] = key
	}
	for i, ns := range []*nstest.NS{nsA, nsB} {
		var d *device.Device
		ns.Do(func() {
			t, err := tun.CreateTUN("wg0", 1420)
			nstest.Must(b, err)
			d = device.NewDevice(t, newBind(), logger(slog.New(slog.DiscardHandler)))
			nstest.Must(b, d.Up())
			nstest.Must(b, d.IpcSet(string(appendConfig(nil, wgtypes.Config{
				PrivateKey: &keys[i], ListenPort: ptr(51820 + i),
				Peers: []wgtypes.PeerConfig{{
					PublicKey:  keys[1-i].PublicKey(),
					Endpoint:   &net.UDPAddr{IP: net.IPv4(192, 0, 2, byte(2-i)), Port: 51820 + 1 - i},
					AllowedIPs: []net.IPNet{ipNet("10.99.0.0/24")},
				}},
			}))))
		})
		b.Cleanup(d.Close)
		ns.Run("ip", "address", "add", fmt.Sprintf("10.99.0.%d/24", 1+i), "dev", "wg0")
		ns.Run("ip", "link", "set", "wg0", "up")
	}
	var l net.Listener
	var out net.Conn
	nsB.Do(func() {
		var err error
		l, err = net.Listen("tcp", "10.99.0.2:1")
		nstest.Must(b, err)
	})
	defer l.Close()
	nsA.Do(func() {
		var err error
		out, err = net.Dial("tcp", l.Addr().String())
		nstest.Must(b, err)
	})
	defer out.Close()
	in, err := l.Accept()
	nstest.Must(b, err)
	defer in.Close()

	b.SetBytes(chunk)
	data := make([]byte, chunk)
	read := make(chan error)
	go func() {
		defer close(read)
		buffer := make([]byte, chunk)
		for {
			if _, err := io.ReadFull(in, buffer); err != nil {
				return
			}
			read <- nil
		}
	}()
	for b.Loop() {
		_, err := out.Write(data)
		nstest.Must(b, err)
		<-read
	}
	out.Close()
	for range read { //nolint:revive // until the reader has ended
	}
}
