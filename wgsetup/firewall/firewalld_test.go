package firewall

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// fakeFirewalld answers as firewalld does: links are in zones, some of which forward.
type fakeFirewalld struct {
	zones   map[string]string
	forward map[string]bool
	target  map[string]string
}

func (f fakeFirewalld) serve(t *testing.T, address string) {
	t.Helper()
	conn, err := dbus.Connect(address)
	nstest.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	nstest.Must(t, conn.ExportMethodTable(map[string]any{
		"getDefaultZone": func() (string, *dbus.Error) { return "public", nil },
	}, firewalldPath, firewalldName))
	nstest.Must(t, conn.ExportMethodTable(map[string]any{
		"getZoneOfInterface": func(link string) (string, *dbus.Error) { return f.zones[link], nil },
		"getZoneSettings2": func(zone string) (map[string]dbus.Variant, *dbus.Error) {
			all := map[string]dbus.Variant{"target": dbus.MakeVariant(f.target[zone])}
			if f.forward != nil {
				all["forward"] = dbus.MakeVariant(f.forward[zone])
			}
			return all, nil
		},
	}, firewalldPath, firewalldName+".zone"))
	if reply, err := conn.RequestName(firewalldName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("be firewalld: %v %v", reply, err)
	}
}

// startBus runs a bus below root.
func startBus(t *testing.T, root string) (address string) {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		nstest.Skip(t, "there is no dbus-daemon: make deps")
	}
	socket, config := filepath.Join(root, busSocket), filepath.Join(root, "bus.conf")
	nstest.Must(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	nstest.Must(t, os.WriteFile(config, fmt.Appendf(nil, `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`, socket), 0o644))
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, program, "--config-file="+config, "--nofork", "--nopidfile")
	nstest.Must(t, c.Start())
	t.Cleanup(func() {
		cancel()
		_ = c.Wait() // "signal: killed"
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return "unix:path=" + socket
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// What firewalld would let pass, and what lets it pass, as firewalld 1.3 was seen to.
func TestFirewalld(t *testing.T) {
	forwarding := map[string]bool{"public": true, "internal": true}
	for name, c := range map[string]struct {
		fake fakeFirewalld
		want string
	}{
		"link in no zone":           {fakeFirewalld{forward: forwarding}, "run firewall-cmd --zone=public --add-interface=eth0 and the same with --permanent"},
		"link in the default zone":  {fakeFirewalld{zones: map[string]string{"eth0": "public"}, forward: forwarding}, ""},
		"both in one zone":          {fakeFirewalld{zones: map[string]string{"eth0": "internal", "credant0": "internal"}, forward: forwarding}, ""},
		"link in another zone":      {fakeFirewalld{zones: map[string]string{"eth0": "internal"}, forward: forwarding}, "--zone=internal --change-interface=credant0"},
		"zone that forwards not":    {fakeFirewalld{zones: map[string]string{"eth0": "public"}, forward: map[string]bool{}}, "--zone=trusted --change-interface=credant0"},
		"firewalld before 0.9":      {fakeFirewalld{zones: map[string]string{"eth0": "public"}}, "--zone=trusted --change-interface=credant0"},
		"device in an open zone":    {fakeFirewalld{zones: map[string]string{"credant0": "trusted"}, target: map[string]string{"trusted": "ACCEPT"}}, ""},
		"link in two other zones":   {fakeFirewalld{zones: map[string]string{"eth0": "internal", "eth1": "dmz"}, forward: forwarding}, "--zone=trusted"},
		"another link in no zone":   {fakeFirewalld{zones: map[string]string{"eth0": "public"}, forward: forwarding}, "--zone=public --add-interface=eth1"},
		"device in a zone of links": {fakeFirewalld{zones: map[string]string{"eth0": "internal", "eth1": "internal", "credant0": "internal"}, forward: forwarding}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ns, root := nstest.New(t), t.TempDir()
			ns.Nft("table inet firewalld { chain zones { }\n chain filter_FORWARD { type filter hook forward priority 10; jump zones; reject; }\n}")
			c.fake.serve(t, startBus(t, root))
			o := opening()
			if o.Links = []string{"eth0"}; strings.Contains(name, "another link") || strings.Contains(name, "two") || strings.Contains(name, "links") {
				o.Links = append(o.Links, "eth1")
			}
			ns.Do(func() {
				r, err := Host{Root: root}.Open(t.Context(), o)
				nstest.Must(t, err)
				got := strings.Join(r.Advice, "\n")
				if c.want == "" && got != "" || !strings.Contains(got, c.want) {
					t.Errorf("advice: %q, want %q", got, c.want)
				}
			})
		})
	}
}
