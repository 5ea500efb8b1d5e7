package control

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/lan"
)

func TestIdentityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, notice, err := loadIdentity(dir, "home")
	if err != nil || notice != "" {
		t.Fatalf("first start: notice %q, error %v", notice, err)
	}
	second, _, err := loadIdentity(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	if first.node.Public() != second.node.Public() || first.wireGuard != second.wireGuard {
		t.Error("the second start has other keys")
	}
	fi, err := os.Stat(filepath.Join(dir, "home", "node.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("node.key: mode %v, error %v, want 0600", fi.Mode(), err)
	}
	other, _, err := loadIdentity(dir, "office")
	if err != nil || other.node.Public() == first.node.Public() {
		t.Errorf("another network has the same node key (error %v)", err)
	}
}

func TestClonedImageGetsNewKeys(t *testing.T) {
	dir := t.TempDir()
	first, _, err := loadIdentity(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "home", "node.key")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mark := machineMark("home")
	if mark == "" {
		// No machine id here: what a file with one says cannot be compared.
		mark = `"node"`
		b = bytes.Replace(b, []byte(mark), []byte(`"machine": "other", "node"`), 1)
	} else {
		b = bytes.Replace(b, []byte(mark), []byte("the-image-this-was-copied-from"), 1)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (ownNames{Name: "of-the-other"}).save(dir, "home"); err != nil {
		t.Fatal(err)
	}
	clone, notice, err := loadIdentity(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	if machineMark("home") == "" {
		if clone.node.Public() != first.node.Public() {
			t.Error("without a machine id the keys were changed")
		}
		return
	}
	if clone.node.Public() == first.node.Public() || !strings.Contains(notice, "cloned image") {
		t.Errorf("notice %q, same key %v: want new keys and word of it", notice, clone.node.Public() == first.node.Public())
	}
	if own, err := loadOwnNames(dir, "home"); err != nil || own.Name != "" {
		t.Errorf("it is still called %q (error %v)", own.Name, err)
	}
	aside, err := filepath.Glob(path + ".of-another-machine-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("the old keys: %v, %v, want them set aside", aside, err)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, b) {
		t.Errorf("the old keys are not as they were (error %v)", err)
	}
}

// Whatever is wrong with a file of keys, it is named and never overwritten.
func TestDamagedKeysAreLeftAlone(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "cut": `{"node": "AA`, "no keys": `{}`, "binary": "\x00\xff\x80",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{"node.key", "network.key"} {
				path := filepath.Join(dir, "home", file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				var err error
				if file == "node.key" {
					_, _, err = loadIdentity(dir, "home")
				} else {
					_, err = LoadKey(dir, "home")
				}
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move") {
					t.Errorf("%s: error %v, want one that names the file and a way out", file, err)
				}
				if b, _ := os.ReadFile(path); string(b) != content {
					t.Errorf("%s was overwritten", file)
				}
			}
		})
	}
}

func TestWriteNewNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	if err := writeNew(dir, "node.key", []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(dir, "node.key", []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "node.key")); string(b) != "first" {
		t.Errorf("the file says %q", b)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestMemoryIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := memory{Port: 23456, Interface: "credant3", Address4: netip.MustParseAddr("10.9.8.7"), Settled4: true, Settled: []netip.Addr{netip.MustParseAddr("10.9.8.7"), netip.MustParseAddr("fd01:2:3::5")}, Subnet: netip.MustParsePrefix("10.9.0.0/16"), Sequence: 1 << 40}
	if err := want.save(dir, "home"); err != nil {
		t.Fatal(err)
	}
	if got, notice, err := loadMemory(dir, "home"); err != nil || notice != "" || !got.equal(want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, notice, err := loadMemory(dir, "elsewhere"); err != nil || notice != "" || !got.equal(memory{}) {
		t.Errorf("a first start remembers %+v, %v", got, err)
	}
}

func TestNodeNames(t *testing.T) {
	for host, want := range map[string]string{
		"nas": "nas", "NAS.example.org": "nas", "my_box": "my-box", "-x-": "x", "": "node", "日本": "node",
	} {
		got := nodeNameFrom(host)
		if got != want || ValidNodeName(got) != nil {
			t.Errorf("nodeNameFrom(%q) = %q, want %q", host, got, want)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", strings.Repeat("a", 64)} {
		if ValidNodeName(bad) == nil {
			t.Errorf("%q passes for a node name", bad)
		}
	}
}

func TestLowPort(t *testing.T) {
	for _, tt := range []struct {
		port uint16
		dht  bool
		told bool
	}{{443, true, true}, {1023, true, true}, {1024, true, false}, {443, false, false}} {
		if text := lowPort(tt.port, tt.dht); text != "" != tt.told {
			t.Errorf("port %d, DHT %v: %q", tt.port, tt.dht, text)
		}
	}
}

// No node gets the port that beacons are heard at by chance, and who asks for it is told.
func TestBeaconPort(t *testing.T) {
	for range 200_000 {
		if p := randomPort(); p == lan.Port || p < 20000 || p >= 32000 {
			t.Fatalf("port %d", p)
		}
	}
	for _, tt := range []struct {
		port    uint16
		beacons bool
		told    bool
	}{{lan.Port, true, true}, {lan.Port, false, false}, {lan.Port + 1, true, false}} {
		if text := beaconPort(tt.port, tt.beacons); text != "" != tt.told {
			t.Errorf("port %d, beacons %v: %q", tt.port, tt.beacons, text)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"network name": {Network: "Home!"},
		"node name":    {Name: "a b"},
		"subnet v6":    {Subnet: netip.MustParsePrefix("fd00::/48")},
		"subnet /31":   {Subnet: netip.MustParsePrefix("10.0.0.0/31")},
		"multicast":    {Subnet: netip.MustParsePrefix("224.0.0.0/8")},
		"loopback":     {Subnet: netip.MustParsePrefix("127.0.0.0/8")},
		"reserved":     {Subnet: netip.MustParsePrefix("240.0.0.0/8")},
		"this network": {Subnet: netip.MustParsePrefix("0.0.0.0/8")},
		"public":       {Subnet: netip.MustParsePrefix("8.8.0.0/16")},
		"half private": {Subnet: netip.MustParsePrefix("172.0.0.0/8")},
		"bootstrap":    {Bootstrap: []string{"host"}},
		"DHT port":     {DHTBootstrap: []string{"host:0"}},
	} {
		if _, err := c.withDefaults(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c, err := Config{Subnet: netip.MustParsePrefix("10.20.30.40/16")}.withDefaults()
	if err != nil || c.Subnet != netip.MustParsePrefix("10.20.0.0/16") || c.Socket != "/run/credant/default.sock" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// A power cut leaves files empty or full of zeros: what can be done without does
// not keep a node from its start, and is said.
func TestDamagedMemory(t *testing.T) {
	for _, damage := range []string{"", "\x00\x00\x00\x00", `{"held": {"nas": 7}}`, `{"held": {"na s": "aaaaaaaaaaaaaaaa"}, "port": -1}`} {
		dir := t.TempDir()
		if err := os.Mkdir(networkDir(dir, "home"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"memory.json", "names.json"} {
			if err := os.WriteFile(filepath.Join(networkDir(dir, "home"), name), []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		held, said, err := loadNames(dir, "home")
		if err != nil || held != nil || !strings.Contains(said, "names.json was damaged") {
			t.Errorf("names of %q: %v, %q, %v", damage, held, said, err)
		}
		if strings.Contains(damage, "nas") {
			continue // no matter to the other file
		}
		m, said, err := loadMemory(dir, "home")
		if err != nil || !m.equal(memory{}) || !strings.Contains(said, "memory.json was damaged") {
			t.Errorf("memory of %q: %+v, %q, %v", damage, m, said, err)
		}
	}
}

// What crashes left of files that were being written is gone after the next start; keys
// that are set aside stay.
func TestUnfinishedFilesAreCleared(t *testing.T) {
	dir := t.TempDir()
	stay := []string{"node.key.of-another-machine-7", "memory.json", "network.key-1", "resolver.json", "mine"}
	for _, name := range append([]string{"memory.json-1", "names.json-22", ".cache.3", ".resolver.json.4"}, stay...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clearUnfinished(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(stay) {
		t.Errorf("left: %v, %v", left, err)
	}
}
