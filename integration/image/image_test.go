package image

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// secret is a credential of the machine's, and one that must be quoted.
const secret = "open sesame, 'twice'\n"

// bootOnLAN boots the machine that the tests share, in another year, beside a neighbour on its LAN.
func bootOnLAN(t *testing.T, credentials map[string]string) (*Machine, *lab.Router, *lab.Host) {
	t.Helper()
	internet := lab.New()
	home := internet.NAT("home", lab.PortRestricted)
	neighbour := home.Host("neighbour")
	if err := internet.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := internet.Close(); err != nil {
			t.Error(err)
		}
	})
	return Boot(t, Config{LAN: home, Clock: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC), Credentials: credentials}), home, neighbour
}

// testMachine tries this package's own promises: a healthy systemd, output apart from errors, files in, a LAN with
// neighbours, the clock, and scripts that end when they should. Other tests need the disk to outlive a reboot.
func testMachine(t *testing.T, m *Machine, home *lab.Router, neighbour *lab.Host) {
	if failed := m.Do(t, "systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("services failed: %s", failed)
	}
	for _, service := range []string{"dbus", "systemd-resolved", "systemd-networkd"} {
		m.Do(t, "systemctl is-active "+service)
	}
	r, err := m.Run(t.Context(), "echo out; echo err >&2; exit 7")
	if want := (Result{Stdout: "out\n", Stderr: "err\n", Code: 7}); err != nil || r != want {
		t.Errorf("a script left %+v, %v", r, err)
	}
	m.Do(t, "ip link add wg0 type wireguard && nft add table inet t && ip link del wg0")

	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	address := LANAddress(home).Addr()
	if address != netip.MustParseAddr("192.168.1.200") {
		t.Errorf("the address on the LAN is %v", address)
	}
	if r, err := neighbour.Run(ctx, "ping", "-c", "1", "-W", "30", address.String()); err != nil || r.Code != 0 {
		t.Errorf("a neighbour's ping: %v, %s", err, r.Output)
	}
	m.Do(t, "ping -c 1 -W 30 "+neighbour.IPv4()[0].String())

	if got := m.Do(t, "cat /run/credentials/@system/image.secret"); got != secret {
		t.Errorf("the credential is %q", got)
	}
	if year := m.Do(t, "date -u +%Y"); year != "2031\n" {
		t.Errorf("the year is %q", year)
	}

	timeUp := errors.New("time is up")
	ctx, cancel = context.WithTimeoutCause(t.Context(), time.Second, timeUp)
	defer cancel()
	if _, err := m.Run(ctx, "echo begun; sleep 1000 & sleep 1000"); !errors.Is(err, timeUp) {
		t.Errorf("a script that hangs: %v", err)
	}
	m.Await(t, waitLimit, "! pgrep sleep")

	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho \"$0\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Put(t, file, "/opt/some where/it's")
	if got := m.Do(t, `"/opt/some where/it's"`); got != "/opt/some where/it's\n" {
		t.Errorf("the file printed %q", got)
	}
}
