package discovery

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cacheEqual = cmp.Options{cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()}

func testCache(t testing.TB) Cache {
	as := newAuthors(t, 2)
	return Cache{
		SavedAt: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		Members: []CachedMember{
			{Signed: as[0].record(7), Age: 90 * time.Second, Addr: netip.MustParseAddrPort("198.51.100.1:40001")},
			{Signed: as[1].record(8), Age: 0},
		},
		DHTNodes: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.2:6881"), netip.MustParseAddrPort("[2001:db8::1]:6881")},
	}
}

func TestCacheRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cache.json")
	want := testCache(t)
	for range 2 { // the second replaces the first
		if err := want.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadCache(path)
	if d := cmp.Diff(want, got, cacheEqual); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if _, err := got.Members[0].Signed.Verify(networkKey(t, 1).Prefix6()); err != nil {
		t.Errorf("a record does not survive: %v", err)
	}
}

// An age goes on growing while the program is not running, as far as the clock
// can be trusted, and never shrinks.
func TestCacheAge(t *testing.T) {
	c := testCache(t)
	for passed, want := range map[time.Duration]time.Duration{
		0:               90 * time.Second,
		time.Hour:       time.Hour + 90*time.Second,
		-30 * time.Hour: 90 * time.Second,
	} {
		if got := c.AgeAt(c.SavedAt.Add(passed), c.Members[0]); got != want {
			t.Errorf("after %v: %v, want %v", passed, got, want)
		}
	}
}

// What is damaged costs what is damaged, and never the start.
func TestCacheTolerates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.json")
	if c, err := LoadCache(path); err != nil || len(c.Members) != 0 {
		t.Errorf("no file: %v", err)
	}
	if err := testCache(t).Save(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		content string
		members int
		nodes   int
		wrong   bool
	}{
		"empty":            {"", 0, 0, true},
		"cut":              {string(good[:len(good)/2]), 0, 0, true},
		"not json":         {"\x00\x01", 0, 0, true},
		"another shape":    {`[1,2]`, 0, 0, true},
		"nothing":          {`{}`, 0, 0, false},
		"unknown field":    {strings.Replace(string(good), "{", `{"later": [1], `, 1), 2, 2, false},
		"bad node":         {strings.Replace(string(good), "203.0.113.2", "203.0.113.999", 1), 2, 1, false},
		"bad address":      {strings.Replace(string(good), "198.51.100.1", "somewhere", 1), 1, 2, false},
		"bad record":       {strings.Replace(string(good), `"record": "`, `"record": "AAAA`, 1), 1, 2, false},
		"bad age":          {strings.Replace(string(good), `"age_seconds": 90`, `"age_seconds": 99999999999999`, 1), 1, 2, false},
		"age before birth": {strings.Replace(string(good), `"age_seconds": 90`, `"age_seconds": -1`, 1), 1, 2, false},
	} {
		if err := os.WriteFile(path, []byte(x.content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadCache(path)
		if (err != nil) != x.wrong || len(c.Members) != x.members || len(c.DHTNodes) != x.nodes {
			t.Errorf("%s: %d members, %d nodes, %v; want %d, %d", name, len(c.Members), len(c.DHTNodes), err, x.members, x.nodes)
		}
	}
	if _, err := LoadCache(t.TempDir()); err == nil {
		t.Error("a directory is read as a cache")
	}
	if err := (Cache{}).Save(filepath.Join(t.TempDir(), "missing", "cache.json")); err == nil {
		t.Error("saved into a directory that does not exist")
	}
}

func TestCacheIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.json")
	c := testCache(t)
	for range maxCacheMembers + 10 {
		c.Members = append(c.Members, c.Members[0])
		c.DHTNodes = append(c.DHTNodes, c.DHTNodes[0])
	}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(path)
	got, err := LoadCache(path)
	if err != nil || len(got.Members) != maxCacheMembers || len(got.DHTNodes) != maxCacheNodes || info.Size() > maxCacheSize {
		t.Errorf("%d members, %d nodes, %d bytes, %v", len(got.Members), len(got.DHTNodes), info.Size(), err)
	}
}

// Whatever the file holds, reading does not panic, and what was understood is
// written and read back the same.
func FuzzParseCache(f *testing.F) {
	b, err := testCache(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCache(b)
		if err != nil {
			return
		}
		c.SavedAt = time.Time{} // a year beyond 9999 does not encode
		out, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseCache(out)
		if d := cmp.Diff(c, again, cacheEqual); d != "" || err != nil {
			t.Fatalf("%v (-first +second):\n%s", err, d)
		}
	})
}
