package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/root.sh
var rootScript string

// inRoot runs a script in a clean Debian: the image that integration/image boots,
// below a RAM disk, in a mount namespace of its own. The older release is in
// /older there, the newer one in /newer.
func inRoot(t *testing.T, script string) string {
	t.Helper()
	need(t, "unshare", "chroot", "mount")
	if os.Geteuid() != 0 {
		skip(t, "only root can mount a Debian to install in: run as root")
	}
	if runtime.GOARCH != "amd64" {
		skip(t, "the image to install in is of amd64")
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--propagation=private",
		"bash", "-c", rootScript, "root", disk(t), folderOf(t, older), folderOf(t, newer), t.TempDir(), script)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v of script:\n%s\nits output:\n%s", err, script, out.Bytes())
	}
	return out.String()
}

// disk is the one that integration/image/build makes.
func disk(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../integration/image/build")
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("CREDANT_CACHE")
	if cache == "" {
		if cache, err = os.UserCacheDir(); err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(cache, "credant")
	}
	path := filepath.Join(cache, "image", fmt.Sprintf("%x", sha256.Sum256(b))[:12], "disk")
	if _, err := os.Stat(path); err != nil {
		skip(t, "there is no Debian to install in: run integration/deps")
	}
	return path
}

// Install, upgrade, remove, purge: what is there after each, and what must not be.
func TestDebInCleanRoot(t *testing.T) {
	out := inRoot(t, `
install() { dpkg --path-include='/usr/share/*' --install "$1"/credant_*_amd64.deb; }

install /older
getent group credant
credant --version
[ "$(stat -c %a:%U /etc/credant /run/credant /var/lib/credant | xargs)" = "755:root 755:root 700:root" ]
systemd-analyze verify --man=no credant@home.service
dpkg --verify credant
test -s /usr/share/man/man8/credant.8.gz
bash -c '. /usr/share/bash-completion/completions/credant && complete -p credant'

# What the first start and the administrator leave.
mkdir -m 700 /var/lib/credant/home
echo key >/var/lib/credant/home/state
echo 'no-dht = true' >/etc/credant/home.toml
systemctl enable credant@home

install /newer
[ "$(dpkg-query -W -f '${Version}' credant)" = 1.2.3-1 ]
[ "$(cat /var/lib/credant/home/state /etc/credant/home.toml | xargs)" = "key no-dht = true" ]
systemctl is-enabled credant@home

dpkg --remove credant
not test -e /usr/bin/credant
not test -e /usr/lib/systemd/system/credant@.service
[ "$(cat /var/lib/credant/home/state /etc/credant/home.toml | xargs)" = "key no-dht = true" ]

dpkg --purge credant
not test -e /var/lib/credant
not test -e /etc/credant
not test -e /run/credant
not test -e /etc/systemd/system/multi-user.target.wants/credant@home.service
not getent group credant
not dpkg-query -W credant
[ -z "$(find / -xdev -name '*credant*' -not -path '/proc/*' -not -path '/older*' -not -path '/newer*' -not -path '/var/log/*')" ]
echo all is as it should be
`)
	if !strings.HasSuffix(out, "all is as it should be\n") {
		t.Errorf("the script ended early:\n%s", out)
	}
}

func TestRelayDebInCleanRoot(t *testing.T) {
	inRoot(t, `
dpkg --install /older/credant-relay_*_amd64.deb
credant-relay --version
systemd-analyze verify --man=no credant-relay.service
not systemctl is-enabled credant-relay
systemctl enable credant-relay
echo 'no-dht = true' >/etc/credant-relay.toml
mkdir -p /var/lib/private/credant-relay
dpkg --install /newer/credant-relay_*_amd64.deb
dpkg --install /newer/credant_*_amd64.deb
dpkg --remove credant-relay
test -e /etc/credant-relay.toml
dpkg --purge credant-relay
not test -e /etc/credant-relay.toml
not test -e /var/lib/private/credant-relay
not test -L /etc/systemd/system/multi-user.target.wants/credant-relay.service
credant --version
`)
}

// A network that somebody began by hand is taken down before its program goes.
func TestRemovalTakesNetworksDown(t *testing.T) {
	out := inRoot(t, `
ip link set lo up
dpkg --install /newer/credant_*_amd64.deb
printf 'eagle-anything-mooned-alabaster-nephew-flypaper\n' >/root/passphrase
credant up --network home --passphrase-file /root/passphrase --backend embedded --no-dht --no-lan --no-stun --no-port-mapping
ip link show credant0
dpkg --remove credant
not ip link show credant0
not test -e /run/credant
test -d /var/lib/credant/home
not grep -i credant <<<"$(nft list ruleset)"
not pgrep credant
`)
	t.Log(out)
}

func TestInstallScriptInCleanRoot(t *testing.T) {
	inRoot(t, `
cp -r /older /tmp/release
/tmp/release/install.sh
cmp /usr/local/bin/credant /older/programs/amd64/credant
credant --version
grep -x 'ExecStart=/usr/local/bin/credant up .*' /etc/systemd/system/credant@.service
getent group credant
systemd-analyze verify --man=no credant@home.service
mkdir -p /var/lib/credant/home && echo key >/var/lib/credant/home/state

/tmp/release/install.sh                          # twice is as once
find / -xdev -newer /tmp/release -path '/usr/local/*' -name '*.new' | wc -l | grep -x 0
/newer/install.sh | grep 'is upgraded'
/newer/install.sh --relay
grep -x 'ExecStart=/usr/local/bin/credant-relay' /etc/systemd/system/credant-relay.service
/newer/install.sh --uninstall --relay
/newer/install.sh --uninstall
not test -e /etc/systemd/system/credant@.service
[ "$(cat /var/lib/credant/home/state)" = key ]
[ -z "$(find /usr/local /etc -name '*credant*')" ]
/newer/install.sh --uninstall --purge
not test -e /var/lib/credant

# What it refuses.
printf x >>/tmp/release/share/LICENSE
not /tmp/release/install.sh 2>/tmp/said
grep 'get the release again' /tmp/said
not test -e /usr/local/bin/credant
dpkg --install /newer/credant_*_amd64.deb
not /newer/install.sh 2>/tmp/said
grep 'from a package' /tmp/said
`)
}

// Into a folder, nothing of this system is asked or changed.
func TestInstallScriptIntoFolder(t *testing.T) {
	inRoot(t, `
for init in usr/lib/systemd/systemd sbin/openrc-run sbin/procd etc/os-release; do
  root=/tmp/image-${init##*/}
  mkdir -p "$root/${init%/*}" "$root/etc"
  touch "$root/$init" 2>/dev/null || :
  /newer/install.sh --root "$root"
  (cd "$root" && find . -type f | sort)
  /newer/install.sh --root "$root" --uninstall
  [ "$(find "$root" -type f | wc -l)" = 1 ]
done
`)
}
