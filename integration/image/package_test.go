package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// testPackage goes on where the service from the binary alone was taken away: keys of both nodes are there, so that none
// is derived again. It installs the older package, restarts what else manages the network under it, upgrades it under
// traffic, removes it and purges it.
func testPackage(t *testing.T, m *Machine) {
	m.Put(t, older(t), "/root/older.deb")
	m.Put(t, newer(t), "/root/newer.deb")
	// By a copy of the program: this node is to stay as it is.
	m.Do(t, `rm /usr/local/bin/credant /etc/credant/*.toml
		dpkg -i /root/older.deb && getent group credant && cp /usr/bin/credant /usr/local/bin/neighbour`)
	// networkd looks after a link, without which it would look after no rules.
	m.Do(t, `mkdir -p /run/systemd/network
		printf '[Match]\nName=to-there\n[Network]\nAddress=192.0.2.1/24\n' >/run/systemd/network/to-there.network
		networkctl reload && ip netns add there && ip link add to-there type veth peer name to-here netns there &&
		ip -n there address add 192.0.2.2/24 dev to-here && ip -n there link set to-here up && ip -n there link set lo up`)
	m.Await(t, waitLimit, "ip address show to-there | grep 192.0.2.1/24")
	m.Do(t, `ip netns exec there neighbour up --network home --name there --advertise-exit-node --dns off \
		--state-dir /var/lib/there --socket /root/there.sock --bootstrap 192.0.2.1:23456`+quiet)
	out := m.Do(t, "credant service install --network home --name here --port 23456 --exit-node there"+quiet)
	if strings.Contains(out, "systemd: write") {
		t.Errorf("the package's unit is not enough:\n%s", out)
	}
	m.Await(t, waitLimit, "credant ping --network home -c 1 there")
	m.Do(t, "credant status --network home --json | grep -F "+olderVersion)

	t.Run("networkd", func(t *testing.T) { testNetworkd(t, m) })
	t.Run("resolved", func(t *testing.T) { testResolved(t, m) })
	t.Run("upgrade", func(t *testing.T) { testUpgrade(t, m) })
	t.Run("remove", func(t *testing.T) {
		m.Do(t, "dpkg -r credant")
		m.Do(t, "test -d /var/lib/credant/home && test -s /etc/credant/home.toml")
		mustNot(t, m, "ip link show credant0", "ip rule | grep ^520", "ip -6 rule | grep ^520",
			"systemctl is-active credant@home", "test -e /run/credant", "test -e /usr/bin/credant")
	})
	t.Run("purge", func(t *testing.T) {
		m.Do(t, "dpkg -P credant")
		mustNot(t, m, "test -e /var/lib/credant", "test -e /etc/credant", "getent group credant",
			"find /etc /usr/bin /usr/lib /usr/share -name '*credant*' | grep .")
	})
}

// testNetworkd restarts what removes rules that are not its own, or the kernel's, when it starts.
func testNetworkd(t *testing.T, m *Machine) {
	const rules = "for f in -4 -6; do ip -d $f rule | grep ^520 | sort; done"
	m.Await(t, waitLimit, "ip -4 rule | grep ^5205: && ip -6 rule | grep ^5205:")
	before := m.Do(t, rules)
	if strings.Count(before, "proto kernel") != strings.Count(before, "\n") {
		t.Errorf("rules of another protocol:\n%s", before)
	}
	m.Do(t, "ip rule add priority 30000 lookup main protocol 202 && systemctl restart systemd-networkd")
	m.Await(t, waitLimit, "! ip rule | grep ^30000:") // it did what it does
	if after := m.Do(t, rules); after != before {
		t.Errorf("before systemd-networkd was restarted:\n%s\nafter:\n%s", before, after)
	}
	// They were not missing in between.
	if log := m.Do(t, "journalctl -q -u credant@home -o cat | grep 'put back' || :"); strings.Contains(log, "rule") {
		t.Errorf("rules were put back:\n%s", log)
	}
	m.Await(t, waitLimit, "credant ping --network home -c 1 there")
}

// testResolved asks for names before and after systemd-resolved forgot what it was told of the link.
func testResolved(t *testing.T, m *Machine) {
	const found = "resolvectl query there.home.internal && getent hosts there.home.internal && getent hosts there"
	m.Await(t, waitLimit, found)
	m.Do(t, "systemctl restart systemd-resolved")
	m.Await(t, waitLimit, found)
}

// testUpgrade upgrades the package while the neighbour sends, with the kernel's WireGuard.
func testUpgrade(t *testing.T, m *Machine) {
	m.Do(t, `credant status --network home --json | grep '"backend"' | grep kernel`)
	address := addressOf(t, m)
	before := m.Do(t, "systemctl show -P MainPID credant@home")
	losesNothing(t, m, address, fmt.Sprintf(
		"dpkg -i /root/newer.deb && until credant status --network home --json | grep -F %s; do sleep 0.5; done", newerVersion))
	if after := m.Do(t, "systemctl show -P MainPID credant@home"); after == before {
		t.Errorf("after the upgrade the daemon is still process %s", after)
	}
	m.Await(t, waitLimit, "systemctl is-active credant@home && credant ping --network home -c 1 there")
	m.Do(t, `[ "$(readlink /proc/$(systemctl show -P MainPID credant@home)/exe)" = /usr/bin/credant ]`)
}

// mustNot runs scripts that are to fail; "! script" is not enough of a check: it does not end a shell with -e, and of
// several the last one counts.
func mustNot(t *testing.T, m *Machine, scripts ...string) {
	t.Helper()
	for _, s := range scripts {
		r, err := m.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == 0 {
			t.Errorf("still: %s\n%s", s, r.Stdout)
		}
	}
}

const olderVersion, newerVersion = "v0.1.0", "v0.1.1"

var (
	packages   string // folder of what was built, which goes with the tests
	buildOlder = sync.OnceValues(func() (string, error) { return buildPackage(olderVersion) })
	buildNewer = sync.OnceValues(func() (string, error) { return buildPackage(newerVersion) })
)

func TestMain(m *testing.M) {
	var err error
	if packages, err = os.MkdirTemp("", "credant-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(packages)
	os.Exit(code)
}

// older and newer are credant's packages for this architecture.
func older(t *testing.T) string { return built(t, buildOlder) }
func newer(t *testing.T) string { return built(t, buildNewer) }

func built(t *testing.T, build func() (string, error)) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// buildPackage builds the programs too: they say their version.
func buildPackage(version string) (string, error) {
	out := filepath.Join(packages, version)
	cmd := exec.Command("go", "run", ".", "-arch", "amd64", "-formats", "deb", "-version", version, "-out", out)
	cmd.Dir = "../../deploy/packages"
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build packages: %w: %s", err, said)
	}
	found, err := filepath.Glob(filepath.Join(out, "credant_*_amd64.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find package: there are %q", found)
	}
	return found[0], nil
}
