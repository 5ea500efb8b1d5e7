package firewall

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// firewalld is asked over D-Bus, and nothing is changed in it: what it allows at once
// either opens services of this host to the device, or lets more than the device's
// packets pass, and policies, which do neither, take a permanent change and a reload.
// Packets pass between links that are in one zone that forwards, as zones do since
// 1.0. A device in no zone is treated as one of the default zone, so that it has to be
// put nowhere; a link in none is no destination.
type firewalld struct{ host Host }

const (
	firewalldName = "org.fedoraproject.FirewallD1"
	firewalldPath = "/org/fedoraproject/FirewallD1"
	// busSocket is the D-Bus specification's address of the system bus.
	busSocket = "/run/dbus/system_bus_socket"
	// busCall bounds a call; firewalld answers these from memory.
	busCall = 10 * time.Second
)

// advice says what lets o pass; nothing, if it does. It is not known where firewalld
// does not answer.
func (f firewalld) advice(ctx context.Context, o Opening) (text string, known bool) {
	bus, err := f.dial(ctx)
	if err != nil {
		return "", false
	}
	defer bus.Close()
	var standard string
	if f.call(ctx, bus, "getDefaultZone").Store(&standard) != nil {
		return "", false
	}
	zones := make(map[string]string) // by link; empty: in none
	for _, link := range append(slices.Clone(o.Links), o.Interface) {
		var zone string
		if f.call(ctx, bus, "zone.getZoneOfInterface", link).Store(&zone) != nil {
			return "", false
		}
		zones[link] = zone
	}
	settings := func(zone string) (forwards, accepts bool) {
		var all map[string]dbus.Variant
		if f.call(ctx, bus, "zone.getZoneSettings2", zone).Store(&all) != nil {
			return false, false // before 0.9
		}
		forwards, _ = all["forward"].Value().(bool)
		target, _ := all["target"].Value().(string)
		return forwards, target == "ACCEPT"
	}
	own := cmp.Or(zones[o.Interface], standard)
	forwards, accepts := settings(own)
	var there, nowhere []string // the zones that links are in, and links in none
	for _, link := range o.Links {
		switch zone := zones[link]; {
		case zone == "":
			nowhere = append(nowhere, link)
		case !slices.Contains(there, zone):
			there = append(there, zone)
		}
	}
	const drops = "firewalld drops what this host is to forward for the network: run firewall-cmd "
	const always = " and the same with --permanent"
	elsewhere := slices.ContainsFunc(there, func(zone string) bool { return zone != own })
	switch {
	case accepts, forwards && !elsewhere && len(nowhere) == 0 && len(o.Links) > 0:
		return "", true
	case forwards && !elsewhere && len(nowhere) > 0:
		return fmt.Sprintf("%s--zone=%s --add-interface=%s%s (what else is in that zone may be forwarded there too)",
			drops, own, strings.Join(nowhere, " --add-interface="), always), true
	case len(there) == 1 && len(nowhere) == 0:
		if forwards, _ := settings(there[0]); forwards {
			return fmt.Sprintf("%s--zone=%s --change-interface=%s%s (the network's members then reach what that zone lets in of this host's services)",
				drops, there[0], o.Interface, always), true
		}
	}
	return trusted(o), true
}

// trusted is the way that always works.
func trusted(o Opening) string {
	return fmt.Sprintf("firewalld drops what this host is to forward for the network: run firewall-cmd --zone=trusted --change-interface=%s "+
		"and the same with --permanent (that also opens this host's services to the network's members)", o.Interface)
}

func (f firewalld) dial(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.Dial("unix:path=" + filepath.Join("/", f.host.Root, busSocket))
	if err != nil {
		return nil, fmt.Errorf("connect to D-Bus: %w", err)
	}
	// Neither the handshake nor Hello take a context.
	late := time.AfterFunc(busCall, func() { conn.Close() })
	defer late.Stop()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("be let in to D-Bus: %w", err)
	}
	return conn, nil
}

// call asks firewalld, and never starts it.
func (f firewalld) call(ctx context.Context, bus *dbus.Conn, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, busCall)
	defer cancel()
	return bus.Object(firewalldName, firewalldPath).CallWithContext(ctx, firewalldName+"."+method, dbus.FlagNoAutoStart, args...)
}
