package pages

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/strict"
)

// The example that all pages share. What a page shows of it is replaced by what it is in the lab before a command runs.
const (
	passphrase = "eagle-anything-mooned-alabaster-nephew-flypaper"
	relayKey   = "xhlffq25rvja5th2t3rfm6q7sfihslw4ocyw667ve75unewfedma"

	vpsAddr     = "203.0.113.5"
	officeLAN   = "192.168.50.0/24"
	printerAddr = "192.168.50.20"
	cameraAddr  = "192.168.50.21"
)

// A scene is the hosts that pages tell of:
//
//	laptop               at home, behind a NAT
//	nas, desk            in another home, behind another
//	gateway, standby     on the LAN 192.168.50.0/24 of an office, with
//	printer, camera      which run nothing of ours
//	vps                  a machine on the internet, 203.0.113.5
//
// and, which no page tells of, a DHT and STUN servers.
type scene struct {
	lab   *lab.Lab
	hosts map[string]*lab.Host
	env   []string
	words map[string]string // what a page says, and what it is here
}

// newScene builds the hosts; it goes with the test.
func newScene(t *testing.T, programs string) *scene {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	l := lab.New()
	home, other, office := l.NAT("home", lab.PortRestricted), l.NAT("other", lab.PortRestricted), l.NAT("office", lab.PortRestricted)
	s := &scene{lab: l, words: map[string]string{}, hosts: map[string]*lab.Host{
		"laptop": home.Host("laptop"), "nas": other.Host("nas"), "desk": other.Host("desk"),
		"gateway": office.Host("gateway"), "standby": office.Host("standby"),
		"printer": office.Host("printer"), "camera": office.Host("camera"), "vps": l.Host("vps"),
	}}
	dhtHost, stunHost := l.Host("dht"), l.Host("stun")
	dhtHost.Addresses, stunHost.Addresses = 16, 2
	must(t, l.Build())
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dht, err := dhtHost.StartDHT(ctx)
	must(t, err)
	stun, err := stunHost.StartSTUN()
	must(t, err)
	t.Cleanup(func() { stun.Close() })
	s.env = []string{
		"PATH=" + programs + ":" + os.Getenv("PATH"), "HOME=/root",
		"CREDANT_DHT_BOOTSTRAP=" + dht.Bootstrap.String(),
		"CREDANT_STUN=" + stun.Addr[0].String() + "," + stun.Addr[1].String(),
	}
	printer := s.hosts["printer"].IPv4()[0]
	lan, err := printer.Prefix(24)
	must(t, err)
	s.words[officeLAN], s.words[printerAddr] = lan.String(), printer.String()
	s.words[cameraAddr] = s.hosts["camera"].IPv4()[0].String()
	s.words[vpsAddr] = s.hosts["vps"].IPv4()[0].String()
	for _, h := range s.hosts {
		must(t, h.Do(ownFiles))
	}
	return s
}

// ownFiles gives a host what the lab leaves to the machine: places for a user's files.
func ownFiles() error {
	for _, dir := range []string{"/root", "/home", "/srv", "/mnt", "/usr/local/bin", "/var/cache", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writePrograms makes a folder with the programs, and a sudo that does what it is told.
func writePrograms(dir, credant, relay string) error {
	for name, target := range map[string]string{"credant": credant, "credant-relay": relay} {
		path, err := filepath.Abs(target)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755)
}

// here says a page's text in this lab's addresses.
func (s *scene) here(text string) string {
	for says, is := range s.words {
		text = strings.ReplaceAll(text, says, is)
	}
	return text
}
