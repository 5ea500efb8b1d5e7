package hostdns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	resolve1        = "org.freedesktop.resolve1"
	resolve1Path    = "/org/freedesktop/resolve1"
	resolve1Manager = resolve1 + ".Manager"
	resolve1Link    = resolve1 + ".Link"
	// busSocket is the D-Bus specification's address of the system bus.
	busSocket = "/run/dbus/system_bus_socket"
	// busCall bounds a call; systemd-resolved answers these from memory.
	busCall = 5 * time.Second
)

// bus is a connection to the system's D-Bus, which tells of systemd-resolved
// coming and going.
type bus struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal // closed when the connection is lost
}

// dialBus connects to the bus of the host.
func dialBus(ctx context.Context, root string) (*bus, error) {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" || root != "" {
		address = "unix:path=" + filepath.Join(root, busSocket)
	}
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, fmt.Errorf("connect to D-Bus: %w", err)
	}
	// Neither the handshake nor Hello take a context.
	late := time.AfterFunc(busCall, func() { conn.Close() })
	defer late.Stop()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("be let in to D-Bus: %w", err)
	}
	if err := conn.Hello(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("be let in to D-Bus: %w", err)
	}
	b := &bus{conn: conn, signals: make(chan *dbus.Signal, 16)}
	conn.Signal(b.signals)
	err = conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"),
		dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, resolve1))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask D-Bus to tell of systemd-resolved: %w", err)
	}
	return b, nil
}

func (b *bus) close() {
	if b != nil {
		b.conn.Close()
	}
}

// owner is who systemd-resolved is on the bus; empty: it does not run.
func (b *bus) owner(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, busCall)
	defer cancel()
	var owner string
	err := b.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, resolve1).Store(&owner)
	if isDBusError(err, "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return "", nil
	}
	return owner, err
}

// call never starts systemd-resolved: who stopped it meant to.
func (b *bus) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return b.conn.Object(resolve1, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

func (b *bus) manager(ctx context.Context, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, busCall)
	defer cancel()
	return b.call(ctx, resolve1Path, resolve1Manager+"."+method, args...).Err
}

// link is what systemd-resolved has for an interface, by property.
func (b *bus) link(ctx context.Context, index int) (map[string]dbus.Variant, error) {
	ctx, cancel := context.WithTimeout(ctx, busCall)
	defer cancel()
	var path dbus.ObjectPath
	if err := b.call(ctx, resolve1Path, resolve1Manager+".GetLink", int32(index)).Store(&path); err != nil {
		return nil, err
	}
	var properties map[string]dbus.Variant
	err := b.call(ctx, path, "org.freedesktop.DBus.Properties.GetAll", resolve1Link).Store(&properties)
	return properties, err
}

func isDBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}

// isGone tells that systemd-resolved went away during a call, or before.
func isGone(err error) bool {
	return errors.Is(err, dbus.ErrClosed) || errors.Is(err, context.DeadlineExceeded) ||
		isDBusError(err, "org.freedesktop.DBus.Error.NoReply") || isDBusError(err, "org.freedesktop.DBus.Error.ServiceUnknown") ||
		isDBusError(err, "org.freedesktop.DBus.Error.NameHasNoOwner") || isDBusError(err, "org.freedesktop.DBus.Error.Disconnected")
}
