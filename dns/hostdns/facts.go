package hostdns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// facts are what of the host decides how it can be pointed at the network.
type facts struct {
	nameservers []netip.Addr // in /etc/resolv.conf
	generator   string       // what wrote /etc/resolv.conf; empty: unknown
	switchHosts []string     // the services for hosts in nsswitch.conf; nil: no such file, as with musl
	resolved    bool         // systemd-resolved is on the bus
	resolvconf  resolvconf
}

// resolvconf is which program of that name the host has.
type resolvconf struct {
	flavour string // "openresolv", "debian", "systemd"; empty: none
	// splitter is the local resolver that openresolv tells which server to ask
	// for a domain; empty: it tells none.
	splitter string
}

// readFacts reads all but what the bus says.
func readFacts(ctx context.Context, root, mode string) facts {
	var f facts
	conf := readSmall(root, "/etc/resolv.conf")
	f.nameservers, f.generator = parseResolvConf(conf)
	if f.generator == "" {
		f.generator = generatorByLink(root)
	}
	f.switchHosts = parseSwitch(readSmall(root, "/etc/nsswitch.conf"))
	if f.generator == "resolvconf" || mode == ModeResolvconf { // else it need not be run
		f.resolvconf.flavour = resolvconfFlavour(ctx, root)
	}
	if f.resolvconf.flavour == openresolv {
		f.resolvconf.splitter = parseSplitter(readSmall(root, "/etc/resolvconf.conf"))
	}
	return f
}

// maxConfig bounds what is read of the host's settings; real ones are under 4 kB.
const maxConfig = 1 << 20

// readSmall reads a file of settings. One that cannot be read says as little as
// an empty one.
func readSmall(root, path string) []byte {
	f, err := os.Open(filepath.Join(root, path))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil
	}
	return b
}

// generators are what the comments at the head of /etc/resolv.conf name.
var generators = []struct{ word, generator string }{
	{"systemd-resolved", "systemd-resolved"},
	{"NetworkManager", "NetworkManager"},
	{"resolvconf", "resolvconf"},
	{"dhcpcd", "dhcpcd"},
	{"dhclient", "dhclient"},
	{"udhcpc", "udhcpc"},
	{"connman", "connman"},
}

func parseResolvConf(b []byte) (servers []netip.Addr, generator string) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			for _, g := range generators {
				if generator == "" && strings.Contains(comment, g.word) {
					generator = g.generator
				}
			}
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, a.Unmap())
		}
	}
	return servers, generator
}

// generatorByLink tells Debian's resolvconf, whose head can be edited away, by
// where /etc/resolv.conf points.
func generatorByLink(root string) string {
	if to, err := os.Readlink(filepath.Join(root, "/etc/resolv.conf")); err == nil && strings.Contains(to, "/resolvconf/") {
		return "resolvconf"
	}
	return ""
}

// parseSwitch returns the services for hosts, with what is done on each result
// left out: "[!UNAVAIL=return]".
func parseSwitch(b []byte) []string {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		list, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if !ok {
			continue
		}
		services := []string{}
		for {
			before, action, found := strings.Cut(list, "[")
			services = append(services, strings.Fields(before)...)
			if !found {
				return services
			}
			_, list, _ = strings.Cut(action, "]")
		}
	}
	return nil
}

const (
	openresolv       = "openresolv"
	debianResolvconf = "debian"
	// systemd's resolvectl answers to this name too; it is systemd-resolved
	// that does the work then, and that is asked over D-Bus.
	systemdResolvconf = "systemd"
)

// resolvconfFlavour asks the program who it is, as nothing else tells.
func resolvconfFlavour(ctx context.Context, root string) string {
	out, err := runHost(ctx, root, nil, "resolvconf", "--version")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return ""
	case strings.Contains(out, "openresolv"):
		return openresolv
	case strings.Contains(out, "systemd"):
		return systemdResolvconf
	}
	return debianResolvconf // older ones do not know --version
}

// splitters are the settings by which openresolv writes, for a local resolver,
// which server to ask for a domain.
var splitters = map[string]string{
	"dnsmasq_conf":  "dnsmasq",
	"unbound_conf":  "unbound",
	"named_zones":   "named",
	"pdns_zones":    "pdns_recursor",
	"pdnsd_conf":    "pdnsd",
	"pdnsd_resolv":  "", // the servers for everything: no split
	"named_options": "",
}

// parseSplitter reads resolvconf.conf, a shell script, without running it.
func parseSplitter(b []byte) string {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if ok && splitters[key] != "" && strings.Trim(value, `"' `) != "" {
			return splitters[key]
		}
	}
	return ""
}

// asksLocal tells that everything is asked of a resolver on this host.
func (f facts) asksLocal() bool {
	return len(f.nameservers) > 0 && !slices.ContainsFunc(f.nameservers, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// hostCommand bounds what the host's programs may take. Debian's resolvconf
// waits up to 10 s for another one.
const hostCommand = 20 * time.Second

// runHost runs a program of the host, looked up where root's are, because a
// daemon may be started with little in PATH.
func runHost(ctx context.Context, root string, stdin []byte, name string, args ...string) (string, error) {
	path := ""
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"} {
		if info, err := os.Stat(filepath.Join(root, dir, name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			path = filepath.Join(dir, name)
			break
		}
	}
	if path == "" {
		return "", exec.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, hostCommand)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL=C"}
	c.Dir = "/"
	c.Stdin = bytes.NewReader(stdin)
	if root != "" {
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
	// A service that the program restarts may keep its output open.
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return string(out), fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, firstLine(out))
	}
	return string(out), nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line[:min(len(line), 200)]
}
