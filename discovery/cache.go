package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// Bounds of the cache file. One that was made to be larger is not read to its
// end, nor kept in full.
const (
	maxCacheSize    = 16 << 20
	maxCacheMembers = DefaultMembers
	maxCacheNodes   = 1024
)

// Cache is what worked last time. All of it can be found again, so nothing in
// it is worth an error that stops a start.
type Cache struct {
	// SavedAt is the wall clock's time of Save.
	SavedAt time.Time
	Members []CachedMember
	// DHTNodes are DHT nodes that answered.
	DHTNodes []netip.AddrPort
}

// CachedMember is a member and where it was reached last.
type CachedMember struct {
	Signed wire.SignedRecord
	Age    time.Duration  // when it was saved
	Addr   netip.AddrPort // invalid: never reached directly
}

// AgeAt is how old the record is at the wall clock's time, which may be wrong:
// where it stands before SavedAt, no time counts as passed, because an age never
// shrinks. A record too old for the Book leaves an address worth a hello.
func (c Cache) AgeAt(wall time.Time, m CachedMember) time.Duration {
	return m.Age + max(wall.Sub(c.SavedAt), 0)
}

type cacheJSON struct {
	Version  int               `json:"version"`
	SavedAt  time.Time         `json:"saved_at"`
	Members  []json.RawMessage `json:"members"`
	DHTNodes []json.RawMessage `json:"dht_nodes"`
}

type memberJSON struct {
	Record     []byte         `json:"record"` // as wire.SignedRecord marshals
	AgeSeconds int64          `json:"age_seconds"`
	Addr       netip.AddrPort `json:"addr,omitzero"`
}

// LoadCache reads what Save wrote. A file that is not there is an empty cache;
// one that cannot be understood is an empty cache and an error to be logged;
// entries that cannot be understood are left out. Signatures are not checked
// here but by the Book.
func LoadCache(path string) (Cache, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Cache{}, nil
	}
	if err != nil {
		return Cache{}, fmt.Errorf("load cache: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCacheSize))
	if err != nil {
		return Cache{}, fmt.Errorf("load cache: %w", err)
	}
	c, err := parseCache(b)
	if err != nil {
		return Cache{}, fmt.Errorf("load cache %s: %w", path, err)
	}
	return c, nil
}

func parseCache(b []byte) (Cache, error) {
	var in cacheJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return Cache{}, err
	}
	c := Cache{SavedAt: in.SavedAt}
	for _, raw := range in.Members[:min(len(in.Members), maxCacheMembers)] {
		var m memberJSON
		if json.Unmarshal(raw, &m) != nil || m.AgeSeconds < 0 || m.AgeSeconds > maxAgeSeconds {
			continue
		}
		s, err := wire.ParseSigned(m.Record)
		if err != nil {
			continue
		}
		c.Members = append(c.Members, CachedMember{
			Signed: s, Age: time.Duration(m.AgeSeconds) * time.Second, Addr: unmap(m.Addr),
		})
	}
	for _, raw := range in.DHTNodes[:min(len(in.DHTNodes), maxCacheNodes)] {
		var a netip.AddrPort
		if json.Unmarshal(raw, &a) == nil && a.IsValid() {
			c.DHTNodes = append(c.DHTNodes, unmap(a))
		}
	}
	return c, nil
}

// maxAgeSeconds is a century: beyond it a duration overflows.
const maxAgeSeconds = 100 * 365 * 24 * 3600

// Save replaces the file at path in one step, readable by its owner alone: it
// lists who is in the network. After a crash the old or the new file is there.
func (c Cache) Save(path string) error {
	b, err := c.encode()
	if err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	defer os.Remove(f.Name()) // of no effect once renamed
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	return nil
}

func (c Cache) encode() ([]byte, error) {
	out := cacheJSON{Version: 1, SavedAt: c.SavedAt.UTC().Truncate(time.Second)}
	for _, m := range c.Members[:min(len(c.Members), maxCacheMembers)] {
		// Rounded up: an age never shrinks.
		age := int64((max(m.Age, 0) + time.Second - 1) / time.Second)
		raw, err := json.Marshal(memberJSON{Record: m.Signed.Marshal(), AgeSeconds: age, Addr: m.Addr})
		if err != nil {
			return nil, err
		}
		out.Members = append(out.Members, raw)
	}
	for _, a := range c.DHTNodes[:min(len(c.DHTNodes), maxCacheNodes)] {
		raw, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		out.DHTNodes = append(out.DHTNodes, raw)
	}
	b, err := json.MarshalIndent(out, "", " ")
	return append(b, '\n'), err
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
