package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

const (
	cloudInit = "../../deploy/cloud-init/"
	// officePassphrase is of the network that vendor-data joins; user-data joins the one of member.Passphrase.
	officePassphrase = "refusal-tidy-jailbreak-oversold-mumbling-yodel"
)

// A machine with a wrong clock is given the published user-data, with a passphrase, and the published vendor-data, with a
// passphrase in its firmware: on its first boot it installs the package and joins both networks, and neither passphrase
// can be read afterwards but where only root can, and has to.
func TestFirstBoot(t *testing.T) {
	Need(t)
	deb := older(t)
	internet := lab.New()
	home := internet.NAT("lan-router", lab.PortRestricted)
	neighbour := home.Host("neighbour")
	if err := internet.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := internet.Close(); err != nil {
			t.Error(err)
		}
	})
	bootstrap := startNeighbours(t, neighbour)

	seed := map[string]string{
		"user-data": edit(t, cloudInit+"user-data.debian.yaml",
			"six-words-that-credant-new-has-printed", member.Passphrase,
			"vpn.example.org:23456", bootstrap["home"].String(),
			"https://downloads.example.org/credant.deb", "file:///run/image/credant.deb",
			strings.Repeat("0", 64), sumOf(t, deb)),
		"vendor-data": edit(t, cloudInit+"vendor-data.sh",
			"vpn.example.org:23456", bootstrap["office"].String(),
			// The image has the package.
			"set -eu\n", "set -eu\napt-get install -qq /run/image/credant.deb\n"),
		"meta-data": "instance-id: first\nlocal-hostname: newcomer\n",
		"network-config": fmt.Sprintf("version: 2\nethernets:\n  eth0:\n    addresses: [%s]\n    gateway4: %s\n",
			LANAddress(home), LANAddress(home).Masked().Addr().Next()),
	}
	m := Boot(t, Config{
		LAN: home, Seed: seed,
		Credentials: map[string]string{"credant.office.passphrase": officePassphrase},
		Files:       map[string]string{"credant.deb": deb},
		Clock:       time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC),
	})
	t.Cleanup(func() {
		if t.Failed() {
			r, err := m.Run(context.Background(), "cat /var/log/cloud-init-output.log; grep -e WARN -e ERROR /var/log/cloud-init.log")
			t.Logf("cloud-init's logs (%v):\n%s", err, r.Stdout)
		}
	})
	if got := m.Do(t, "cloud-init status --wait"); !strings.Contains(got, "status: done") {
		t.Errorf("cloud-init ended with %s", got)
	}
	for _, name := range []string{"user-data.debian.yaml", "user-data.rhel.yaml"} {
		m.Put(t, cloudInit+name, "/root/"+name)
		m.Do(t, "cloud-init schema --config-file /root/"+name)
	}

	reachNeighbours(t, m)
	// systemd moves a clock that is far behind to the day on which it was built.
	if m.Do(t, "date -u +%F") == time.Now().UTC().Format("2006-01-02\n") {
		t.Error("the machine's clock was right: this shows nothing of a wrong one")
	}
	checkSecrets(t, m)

	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	reachNeighbours(t, m)
	m.Do(t, "cloud-init status --wait")
	checkSecrets(t, m) // cloud-init has read its disk again
}

// startNeighbours starts a node of each network on the host and returns where it listens.
func startNeighbours(t *testing.T, host *lab.Host) map[string]netip.AddrPort {
	t.Helper()
	binary, _, err := member.Programs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	at := make(map[string]netip.AddrPort)
	for network, passphrase := range map[string]string{"home": member.Passphrase, "office": officePassphrase} {
		n := &member.Member{
			Host: host, Binary: binary, Network: network, Passphrase: passphrase,
			Flags: []string{"--backend", "embedded", "--no-dht", "--no-stun", "--no-port-mapping", "--dns", "off"},
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		status, err := n.WaitUp(ctx)
		if err != nil {
			t.Fatal(err)
		}
		at[network] = netip.AddrPortFrom(host.IPv4()[0], status.Port)
	}
	return at
}

func reachNeighbours(t *testing.T, m *Machine) {
	t.Helper()
	for _, network := range []string{"home", "office"} {
		m.Await(t, waitLimit, "credant ping -c 1 --network "+network+" neighbour")
		m.Do(t, "systemctl is-active credant@"+network+" && systemctl is-enabled credant@"+network)
	}
}

// checkSecrets looks for the passphrases in all that the machine wrote, and for who may ask for user-data.
func checkSecrets(t *testing.T, m *Machine) {
	t.Helper()
	for passphrase, allowed := range map[string]string{
		member.Passphrase: "",
		// systemd's copies of what the firmware gave, which are root's alone.
		officePassphrase: " | grep -v ^/run/credentials/",
	} {
		// This script and what it looks for are in /run/image; a process must not find it in its own arguments.
		found := m.Do(t, fmt.Sprintf(`
			cd /run/image && echo %s >pattern
			{
				grep -rlaF --exclude-dir=image -f pattern /etc /home /root /run /tmp /var
				grep -laF -f pattern /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null
				journalctl --no-pager -o export | grep -aF -f pattern
				dmesg | grep -F -f pattern
			} %s
			rm pattern`, quote(passphrase), allowed))
		if found != "" {
			t.Errorf("a passphrase can still be read:\n%s", found)
		}
	}
	// It has been there, and root alone may ask for it, or read what the firmware gave.
	m.Do(t, "grep -q CREDANT_PASSPHRASE=xxxxxx /var/lib/cloud/instance/user-data.txt")
	m.Do(t, "runuser -u nobody -- sh -c '! cat /run/credentials/@system/*' && test -s /run/credentials/@system/credant.office.passphrase")
	m.Do(t, "ip route get 169.254.169.254 uid 0")
	m.Do(t, "! ip route get 169.254.169.254 uid 65534")
}

// edit reads a file and replaces each old text, which must be there once, by the new one that follows it.
func edit(t *testing.T, path string, oldNew ...string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(oldNew); i += 2 {
		if n := strings.Count(text, oldNew[i]); n != 1 {
			t.Fatalf("%s contains %q %d times", path, oldNew[i], n)
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	return text
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
