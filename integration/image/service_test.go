package image

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// waitLimit is for what takes seconds on a machine that has nothing else to do.
const waitLimit = 10 * time.Minute

const passphrase = "brunt-clavicle-strewn-ooze-gumball-tartan"

// quiet keeps a node to the machine it is on.
const quiet = " --no-dht --no-stun --no-lan --no-port-mapping --no-public-relay "

// A network as a service of systemd, from the binary alone: installed, upgraded and killed under traffic, watched, boxed
// in, given its passphrase as a credential, there again after a reboot, and taken away. Then from the package.
func TestService(t *testing.T) {
	Need(t)
	m, home, neighbour := bootOnLAN(t, map[string]string{"credant.vault.passphrase": passphrase, "image.secret": secret})
	binary := os.Getenv("CREDANT_BIN")
	if binary == "" {
		var err error
		if binary, err = filepath.Abs("../../bin/credant"); err != nil {
			t.Fatal(err)
		}
	}
	m.Put(t, binary, "/usr/local/bin/credant")
	m.Do(t, "groupadd -r credant")

	t.Run("machine", func(t *testing.T) { testMachine(t, m, home, neighbour) })
	t.Run("install", func(t *testing.T) { testInstall(t, m) })
	t.Run("traffic", func(t *testing.T) { testTraffic(t, m) })
	t.Run("each", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *Machine){
			"sandbox": testSandbox, "watchdog": testWatchdog, "credentials": testCredentials,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, m)
			})
		}
	})
	t.Run("reboot", func(t *testing.T) {
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Await(t, waitLimit, "systemctl is-active credant@home && credant status --network home")
	})
	t.Run("uninstall", func(t *testing.T) { testUninstall(t, m) })
	t.Run("package", func(t *testing.T) { testPackage(t, m) })
}

func testInstall(t *testing.T, m *Machine) {
	out := m.Do(t, "echo "+passphrase+" | credant service install --network home --name here --port 23456 --passphrase-file -"+quiet)
	for _, want := range []string{
		"/etc/credant/home.toml: port = 23456", "systemd: write /etc/systemd/system/credant@.service",
		"systemd: enable credant@home", "systemd: start credant@home", "Network home is up", "Its log: journalctl -u credant@home",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("install does not say %q:\n%s", want, out)
		}
	}
	if again := m.Do(t, "credant service install --network home"); !strings.Contains(again, "nothing was changed") {
		t.Errorf("installed again: %s", again)
	}
	if socket := m.Do(t, "stat -c '%U:%G %a' /run/credant/home.sock"); socket != "root:credant 660\n" {
		t.Errorf("the socket is %s", socket)
	}
	m.Await(t, waitLimit, "systemctl status credant@home | grep 'Status:.*no other node found yet'")
	log := m.Do(t, "journalctl -u credant@home -o cat _COMM=credant")
	if strings.Contains(log, "time=") || strings.Contains(log, "level=") || !strings.Contains(log, "network is up") {
		t.Errorf("the journal does not keep time and level apart:\n%s", log)
	}
	m.Do(t, "journalctl -q -u credant@home -p info _COMM=credant | grep 'network is up'")
}

// testTraffic runs another node on this machine, in a namespace, and sends packets while the service is restarted, killed
// and told new settings.
func testTraffic(t *testing.T, m *Machine) {
	m.Do(t, `ip netns add there && ip link add to-there type veth peer name to-here netns there &&
		ip address add 192.0.2.1/24 dev to-there && ip link set to-there up &&
		ip -n there address add 192.0.2.2/24 dev to-here && ip -n there link set to-here up && ip -n there link set lo up`)
	// The same network has the same key, which takes long to derive.
	m.Do(t, `install -D -m 600 -t /var/lib/there/home /var/lib/credant/home/network.key
		ip netns exec there credant up --network home --name there --dns off \
		--state-dir /var/lib/there --socket /run/there.sock --bootstrap 192.0.2.1:23456`+quiet)
	m.Await(t, waitLimit, "credant ping --network home -c 1 there")
	m.Await(t, waitLimit, "systemctl status credant@home | grep 'Status:.*1 of 1 other node'")
	address := addressOf(t, m)
	for _, c := range []struct{ name, script string }{
		{"restart", "systemctl restart credant@home"},
		{"kill", `systemctl kill --kill-whom=main -s KILL credant@home
			until [ "$(systemctl show -P NRestarts credant@home)" = 1 ] && credant status --network home >/dev/null; do sleep 0.2; done`},
		{"settings", "credant service install --network home --log-level debug"},
	} {
		before := m.Do(t, "systemctl show -P MainPID credant@home")
		losesNothing(t, m, address, c.script)
		if after := m.Do(t, "systemctl show -P MainPID credant@home"); after == before {
			t.Errorf("%s: the daemon is still process %s", c.name, after)
		}
		m.Await(t, waitLimit, "systemctl is-active credant@home && credant ping --network home -c 1 there")
	}
}

// addressOf returns the IPv4 address that the service gave this machine.
func addressOf(t *testing.T, m *Machine) netip.Addr {
	t.Helper()
	out := m.Do(t, "ip -br -4 address show dev credant0 | awk '{ sub(\"/.*\", \"\", $3); print $3 }'")
	address, err := netip.ParseAddr(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// losesNothing runs a script while the other node sends 200 packets a second, from before it until after it. Each number
// up to the last one that came back must have come back: when ping ends, a packet may be on its way.
func losesNothing(t *testing.T, m *Machine, to netip.Addr, script string) {
	t.Helper()
	m.Do(t, fmt.Sprintf(`ip netns exec there ping -i 0.005 -W 5 %s >/tmp/ping & ping=$!
		sleep 1
		%s || exit
		sleep 2; kill -INT $ping; wait $ping || :`, to, script))
	out := m.Do(t, `awk -F 'icmp_seq=| ttl=' '
		/icmp_seq=/ && !/DUP/ { came++; if ($2 + 0 > last) last = $2 + 0 }
		/packets transmitted/ { sent = $0 + 0 }
		END { print came + 0, last + 0, sent + 0 }' /tmp/ping; tail -n 3 /tmp/ping`)
	var came, last, sent int
	if _, err := fmt.Sscan(out, &came, &last, &sent); err != nil || came < 100 || came != last || sent > last+100 {
		t.Errorf("%s: %d of %d packets came back, %d were sent (%v):\n%s", script, came, last, sent, err, out)
	}
}

func testSandbox(t *testing.T, m *Machine) {
	m.Put(t, "testdata/sandbox.sh", "/usr/local/lib/sandbox.sh")
	m.Do(t, "mkdir -p /home/probe && echo secret >/home/probe/secret && chmod 600 /home/probe/secret && chown 1000 /home/probe/secret")
	// Firewalld and ufw are Python: a minute each in an emulator that has to share its host.
	ctx, cancel := context.WithTimeout(t.Context(), 2*doLimit)
	defer cancel()
	r, err := m.Run(ctx, `systemctl start firewalld || exit
		sed -e 's|^ExecStart=.*|ExecStart=/bin/bash /usr/local/lib/sandbox.sh|; s|^Type=.*|Type=oneshot|; /^Restart=/d; /^Watchdog/d' \
			/etc/systemd/system/credant@.service >/run/systemd/system/probe@.service
		systemctl daemon-reload && systemctl start probe@home || exit
		journalctl -q -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID probe@home) _COMM=bash
		systemctl stop firewalld; rm /run/systemd/system/probe@.service`)
	if err != nil || r.Code != 0 || r.Stdout != "" {
		t.Errorf("the sandbox: %v, exit code %d\n%s%s", err, r.Code, r.Stdout, r.Stderr)
	}
}

// testWatchdog lets the daemon hang, after it has been heard of.
func testWatchdog(t *testing.T, m *Machine) {
	m.Do(t, `mkdir -p /run/systemd/system/credant@home.service.d
		printf '[Service]\nWatchdogSec=30\nTimeoutAbortSec=2\n' >/run/systemd/system/credant@home.service.d/test.conf
		systemctl daemon-reload && systemctl restart credant@home`)
	show := func(property string) string {
		return strings.TrimSpace(m.Do(t, "systemctl show -P "+property+" credant@home"))
	}
	begun, before := show("WatchdogTimestampMonotonic"), show("MainPID")
	m.Await(t, waitLimit, fmt.Sprintf(`[ "$(systemctl show -P WatchdogTimestampMonotonic credant@home)" != %s ]`, begun))
	if after := show("MainPID"); after != before {
		t.Fatal("a daemon that works was ended")
	}
	m.Do(t, "kill -STOP "+before)
	m.Await(t, waitLimit, fmt.Sprintf(`pid=$(systemctl show -P MainPID credant@home)
		[ $pid != 0 ] && [ $pid != %s ] && systemctl is-active credant@home && credant status --network home`, before))
	m.Do(t, "journalctl -q -u credant@home | grep -i 'watchdog timeout'")
	m.Do(t, "rm -r /run/systemd/system/credant@home.service.d && systemctl daemon-reload && systemctl restart credant@home")
}

func testCredentials(t *testing.T, m *Machine) {
	// From the machine's firmware, as a hypervisor or cloud hands it over.
	m.Do(t, `for s in no-dht no-stun no-lan no-port-mapping no-public-relay; do echo "$s = true"; done |
		tee /etc/credant/vault.toml >/etc/credant/barn.toml`)

	m.Do(t, "systemctl start credant@vault && credant status --network vault && systemctl stop credant@vault")
	// From a file of root's.
	m.Do(t, `mkdir -p -m 700 /etc/credstore && (umask 077; echo `+passphrase+` >/etc/credstore/credant.barn.passphrase)
		credant service install --network barn --backend embedded`)
	if s := m.Do(t, "credant status --network barn --json | grep '\"backend\"'"); !strings.Contains(s, "embedded") {
		t.Errorf("another backend: %s", s)
	}
	home, barn := m.Do(t, "ls /var/lib/credant/home"), m.Do(t, "ls /var/lib/credant/barn")
	if !strings.Contains(home, "network.key") || !strings.Contains(barn, "network.key") {
		t.Errorf("keys were not stored: %s, %s", home, barn)
	}
	// The key is stored now, and the credential may go.
	m.Do(t, "rm /etc/credstore/credant.barn.passphrase && systemctl restart credant@barn && credant status --network barn")
	m.Do(t, "credant service uninstall --network barn")
	// Without any, it fails once and says what to do.
	m.Do(t, `! systemctl start credant@empty; sleep 5
		systemctl is-failed credant@empty && [ "$(systemctl show -P NRestarts credant@empty)" = 0 ]
		journalctl -q -u credant@empty -p err -o cat | grep 'run "sudo credant service install --network empty"'`)
	if out := m.Do(t, "journalctl -o cat | grep -c "+passphrase+" || true"); out != "0\n" {
		t.Errorf("the passphrase stands in %s lines of the journal", out)
	}
}

func testUninstall(t *testing.T, m *Machine) {
	out := m.Do(t, "credant service uninstall")
	for _, want := range []string{"systemd: stop credant@home", "systemd: disable credant@home", "systemd: remove /etc/systemd/system/credant@.service"} {
		if !strings.Contains(out, want) {
			t.Errorf("uninstall does not say %q:\n%s", want, out)
		}
	}
	m.Do(t, `! ip link show credant0 && ! systemctl is-active credant@home
		[ ! -e /etc/systemd/system/credant@.service ] && [ -e /var/lib/credant/home/network.key ]`)
}
