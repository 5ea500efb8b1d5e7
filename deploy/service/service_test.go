package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeHost is a folder with what tells a service manager, and commands that do to
// it what the real ones do.
func fakeHost(t *testing.T, marks ...string) (Host, *[]string) {
	t.Helper()
	h := Host{Root: t.TempDir(), Program: "/usr/local/bin/credant"}
	for _, m := range marks {
		if err := h.write(m, "", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	calls := &[]string{}
	h.Run = func(_ context.Context, name string, args ...string) (string, error) {
		call := strings.Join(append([]string{name}, args...), " ")
		*calls = append(*calls, call)
		return pretend(h, call)
	}
	return h, calls
}

// pretend is what a command changes, and answers.
func pretend(h Host, call string) (string, error) {
	words := strings.Fields(call)
	last := words[len(words)-1]
	link := filepath.Join(systemdFolder, "multi-user.target.wants", last+".service")
	active := "/active." + strings.TrimPrefix(last, "credant@")
	switch {
	case strings.HasPrefix(call, "systemctl is-active "):
		if h.has(active) {
			return "active\n", nil
		}
		return "inactive\n", errors.New("exit status 3")
	case strings.HasPrefix(call, "systemctl enable "):
		return "", h.write(link, "", 0o644)
	case strings.HasPrefix(call, "systemctl disable "):
		return "", h.remove(link)
	case strings.HasPrefix(call, "systemctl start "):
		return "", h.write(active, "", 0o644)
	case strings.HasPrefix(call, "systemctl stop "):
		return "", h.remove(active)
	case strings.HasPrefix(call, "rc-update add "):
		return "", h.write("/etc/runlevels/default/"+words[2], "", 0o644)
	case strings.HasPrefix(call, "rc-update del "):
		return "", h.remove("/etc/runlevels/default/" + words[2])
	case strings.HasPrefix(call, "rc-service --quiet "):
		if !h.has("/active." + words[2]) {
			return "", errors.New("exit status 3")
		}
	case strings.HasPrefix(call, "rc-service ") && last == "start":
		return "", h.write("/active."+words[1], "", 0o644)
	case strings.HasPrefix(call, "rc-service ") && last == "stop":
		return "", h.remove("/active." + words[1])
	case strings.Contains(call, "uci add_list"):
		_, list, _ := strings.Cut(call, "network=")
		network, _, _ := strings.Cut(list, " ")
		text, _ := h.read(procdConfig)
		return "", h.write(procdConfig, text+"\tlist network '"+network+"'\n", 0o644)
	case strings.Contains(call, "uci del_list"):
		_, list, _ := strings.Cut(call, "network=")
		network, _, _ := strings.Cut(list, " ")
		text, _ := h.read(procdConfig)
		return "", h.write(procdConfig, strings.ReplaceAll(text, "\tlist network '"+network+"'\n", ""), 0o644)
	case strings.HasPrefix(call, "ubus call service list"):
		if h.has("/active.home") {
			return `{"credant":{"instances":{"home":{"running":true,"pid":7}}}}`, nil
		}
		return "{}", nil
	case call == procdScript+" start":
		return "", h.write("/active.home", "", 0o644)
	case strings.HasPrefix(call, "ubus call service delete"):
		return "", h.remove("/active.home")
	}
	return "", nil
}

func texts(steps []Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.String())
	}
	return out
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		mark    string
		offline bool
		want    string
	}{
		{"/run/systemd/system", false, "systemd"},
		{"/usr/lib/systemd/systemd", true, "systemd"},
		{"/usr/lib/systemd/systemd", false, ""},
		{"/run/openrc/softlevel", false, "OpenRC"},
		{"/sbin/openrc-run", true, "OpenRC"},
		{"/sbin/openrc-run", false, ""},
		{"/sbin/init", true, ""},
	} {
		h, _ := fakeHost(t, c.mark)
		m, err := Detect(h, c.offline)
		switch {
		case c.want == "" && !errors.Is(err, ErrNone):
			t.Errorf("%s, offline %v: %v, %v", c.mark, c.offline, m, err)
		case c.want != "" && (err != nil || m.Name() != c.want):
			t.Errorf("%s, offline %v: %v, %v, want %s", c.mark, c.offline, m, err, c.want)
		}
	}
	h, _ := fakeHost(t, "/sbin/procd", "/etc/rc.common")
	if m, err := Detect(h, false); err != nil || m.Name() != "procd" {
		t.Errorf("procd: %v, %v", m, err)
	}
}

// What install does, uninstall undoes; either done twice changes nothing.
func TestInstallAndUninstall(t *testing.T) {
	for _, c := range []struct {
		marks              []string
		install, uninstall []string
	}{
		{
			[]string{"/run/systemd/system"},
			[]string{"write /etc/systemd/system/credant@.service", "reload systemd", "enable credant@home", "start credant@home"},
			[]string{"stop credant@home", "disable credant@home", "remove /etc/systemd/system/credant@.service", "reload systemd"},
		},
		{
			[]string{"/run/systemd/system", "/usr/lib/systemd/system/credant@.service"},
			[]string{"enable credant@home", "start credant@home"},
			[]string{"stop credant@home", "disable credant@home"},
		},
		{
			[]string{"/usr/lib/systemd/systemd"},
			[]string{"write /etc/systemd/system/credant@.service", "enable credant@home"},
			[]string{"disable credant@home", "remove /etc/systemd/system/credant@.service"},
		},
		{
			[]string{"/run/openrc/softlevel"},
			[]string{"write /etc/init.d/credant", "link /etc/init.d/credant.home", "enable credant.home", "start credant.home"},
			[]string{"stop credant.home", "disable credant.home", "remove /etc/init.d/credant.home", "remove /etc/init.d/credant"},
		},
		{
			[]string{"/sbin/procd", "/etc/rc.common", "/var/run/ubus/ubus.sock"},
			[]string{"write /etc/init.d/credant", "write /etc/config/credant", "list home in /etc/config/credant", "enable credant", "start credant"},
			[]string{"stop credant, instance home", "take home out of /etc/config/credant", "disable credant", "remove /etc/init.d/credant"},
		},
	} {
		h, calls := fakeHost(t, c.marks...)
		m, err := Detect(h, true)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(what string, plan func() ([]Step, error), want []string) {
			t.Helper()
			steps, err := plan()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, texts(steps)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.marks, what, diff)
			}
			if err := Apply(t.Context(), steps, func(Step) {}); err != nil {
				t.Fatalf("%s, %s: %v; commands: %v", c.marks, what, err, *calls)
			}
		}
		install := func() ([]Step, error) { return m.Install(t.Context(), Options{Network: "home"}) }
		uninstall := func() ([]Step, error) { return m.Uninstall(t.Context(), "home") }
		apply("install", install, c.install)
		apply("install again", install, nil)
		if diff := cmp.Diff([]string{"home"}, m.Networks()); diff != "" {
			t.Errorf("%s: networks (-want +got):\n%s", c.marks, diff)
		}
		apply("uninstall", uninstall, c.uninstall)
		apply("uninstall again", uninstall, nil)
	}
}

func TestRestartTakesSettings(t *testing.T) {
	for _, mark := range []string{"/run/systemd/system", "/run/openrc/softlevel"} {
		h, _ := fakeHost(t, mark)
		m, err := Detect(h, false)
		if err != nil {
			t.Fatal(err)
		}
		first, err := m.Install(t.Context(), Options{Network: "home"})
		if err == nil {
			err = Apply(t.Context(), first, func(Step) {})
		}
		if err != nil {
			t.Fatal(err)
		}
		steps, err := m.Install(t.Context(), Options{Network: "home", Restart: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"restart " + m.Unit("home")}, texts(steps)); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", m.Name(), diff)
		}
		if steps, err = m.Install(t.Context(), Options{Network: "home", Restart: true, NoStart: true}); err != nil || len(steps) > 0 {
			t.Errorf("%s: not to be started, and yet %v, %v", m.Name(), texts(steps), err)
		}
	}
}

// An older program's file is replaced, what a person wrote is not.
func TestFilesOfOthers(t *testing.T) {
	h, _ := fakeHost(t, "/run/systemd/system")
	const unit = "/etc/systemd/system/credant@.service"
	m, err := Detect(h, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, there string
		written     bool
	}{
		{"of an older program", marked("[Unit]\n# older\n"), true},
		{"of an older program, changed", marked("[Unit]\n") + "# mine\n", false},
		{"of a person", "[Unit]\n", false},
		{"empty", "", false},
	} {
		if err := h.write(unit, c.there, 0o644); err != nil {
			t.Fatal(err)
		}
		steps, err := m.Install(t.Context(), Options{Network: "home"})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(texts(steps), "\n"), "write "+unit); got != c.written {
			t.Errorf("%s: %v", c.name, texts(steps))
		}
		steps, err = m.Uninstall(t.Context(), "home")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(texts(steps), "\n"), "remove "+unit); got != c.written {
			t.Errorf("%s, uninstall: %v", c.name, texts(steps))
		}
	}
}

func TestFilesNameTheProgram(t *testing.T) {
	h, _ := fakeHost(t, "/run/openrc/softlevel")
	h.Program = "/opt/credant/bin/credant"
	m, err := Detect(h, false)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := m.Install(t.Context(), Options{Network: "default", State: "/srv/it's here"})
	if err == nil {
		err = Apply(t.Context(), steps, func(Step) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	script, _ := h.read("/etc/init.d/credant")
	if !strings.HasPrefix(script, "#!/sbin/openrc-run\n"+markBegin) || !strings.Contains(script, "command=${credant_command:-/opt/credant/bin/credant}\n") {
		t.Errorf("the script is\n%s", script)
	}
	if fi, err := os.Stat(h.path("/etc/init.d/credant")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the script's mode: %v, %v", fi, err)
	}
	conf, _ := h.read("/etc/conf.d/credant")
	if !strings.HasSuffix(conf, `credant_state_dir='/srv/it'\''s here'`+"\n") {
		t.Errorf("its settings are\n%s", conf)
	}
}

func TestSandboxLetsFoldersIn(t *testing.T) {
	h, _ := fakeHost(t, "/run/systemd/system", "/usr/lib/systemd/system/credant@.service")
	m, err := Detect(h, false)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Network: "home", Folders: []string{"/srv/my keys 100%", "/opt/sockets"}}
	steps, err := m.Install(t.Context(), o)
	if err == nil {
		err = Apply(t.Context(), steps, func(Step) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, _ := h.read("/etc/systemd/system/credant@home.service.d/credant.conf")
	_, got, _ = strings.Cut(got, "\n")
	want := "[Service]\nReadWritePaths=\"-/srv/my keys 100%%\"\nReadWritePaths=\"-/opt/sockets\"\n"
	if got != want {
		t.Errorf("the drop-in is\n%s", got)
	}
}

func TestStartFails(t *testing.T) {
	h, _ := fakeHost(t, "/run/systemd/system")
	h.Run = func(_ context.Context, name string, _ ...string) (string, error) {
		if name == "journalctl" {
			return "Starting\ncredant: warning: odd\ncredant: no luck: buy a better one\nMain process exited\n", nil
		}
		return "Job failed.\n", errors.New("exit status 1")
	}
	m, err := Detect(h, false)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := m.Install(t.Context(), Options{Network: "home"})
	if err != nil {
		t.Fatal(err)
	}
	err = steps[len(steps)-1].do(t.Context())
	if want := `start credant@home: no luck: buy a better one: see "journalctl -u credant@home"`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err = steps[1].do(t.Context()); err == nil || err.Error() != "reload systemd: systemctl daemon-reload: exit status 1: Job failed." {
		t.Errorf("%v", err)
	}
}
