package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Device is WireGuard on a TUN device of this process. It ends with Close, or
// by itself when the TUN device is removed; Done tells.
type Device struct {
	name  string
	wg    *device.Device
	bind  *Bind
	close sync.Once
}

// Open makes the TUN device name, which must not exist, and starts WireGuard
// on it without a key, a port or peers: those come by ConfigureDevice. What is
// not WireGuard's goes to side. A nil log discards.
func Open(name string, mtu int, side *SidePort, log *slog.Logger) (*Device, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t, err := openTUN(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("create TUN device %s: %w", name, err)
	}
	bind := NewBind(side)
	d := &Device{
		name: name,
		wg:   device.NewDevice(t, bind, logger(log)),
		bind: bind,
	}
	// Up now, with a port that the kernel chooses: ConfigureDevice then
	// reports a port that is taken, where a later Up would only log it.
	if err := d.wg.Up(); err != nil {
		d.Close()
		return nil, fmt.Errorf("start WireGuard on %s: %w", name, err)
	}
	return d, nil
}

// Device returns the state of the device, as wgctrl's Client.Device does.
func (d *Device) Device() (*wgtypes.Device, error) {
	text, err := d.wg.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("get device %s: %w", d.name, err)
	}
	dev, err := parseDevice(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	dev.Name = d.name
	return dev, nil
}

// ConfigureDevice applies cfg, as wgctrl's Client.ConfigureDevice does. A port
// that is taken is syscall.EADDRINUSE; the device then has no port.
func (d *Device) ConfigureDevice(cfg wgtypes.Config) error {
	if err := d.wg.IpcSet(string(appendConfig(nil, cfg))); err != nil {
		return fmt.Errorf("configure device %s: %w", d.name, err)
	}
	return nil
}

// SetRedirects is Bind.SetRedirects of the device's Bind.
func (d *Device) SetRedirects(all map[netip.AddrPort]netip.AddrPort) { d.bind.SetRedirects(all) }

// SetKept is Bind.SetKept of the device's Bind.
func (d *Device) SetKept(all map[netip.AddrPort]uint16) error { return d.bind.SetKept(all) }

// Done is closed when WireGuard has ended.
func (d *Device) Done() <-chan struct{} { return d.wg.Wait() }

// Close ends WireGuard and with it the TUN device.
func (d *Device) Close() {
	d.close.Do(d.wg.Close)
}

// logger writes what wireguard-go says at the debug level: even its errors are
// about single packets, which no operator acts on.
func logger(log *slog.Logger) *device.Logger {
	printf := func(format string, args ...any) {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug("wireguard-go", "text", fmt.Sprintf(format, args...))
		}
	}
	return &device.Logger{Verbosef: printf, Errorf: printf}
}
