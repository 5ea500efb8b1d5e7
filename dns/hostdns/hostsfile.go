package hostdns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxHostsFile bounds /etc/hosts; lists of blocked names make some of several MB.
const maxHostsFile = 32 << 20

// hostsFile is /etc/hosts, which other networks and other programs write too. It
// is never renamed over: in containers it is a mount of its own.
type hostsFile struct {
	path    string
	journal string // the folder of the journals
	network string
	domain  string
	// step is called before each step of a write; nil but in tests.
	step func(name string)
}

func newHostsFile(root, network, domain, record string) hostsFile {
	return hostsFile{
		path: filepath.Join(root, "/etc/hosts"), journal: recordFolder(record),
		network: network, domain: domain,
	}
}

// apply makes the network's block hold the entries, and without any takes it
// away. It tells whether that changed the file, and how many addresses had no
// room.
func (h hostsFile) apply(ctx context.Context, entries []Entry) (changed bool, more int, err error) {
	f, err := h.lock(ctx)
	if errors.Is(err, os.ErrNotExist) && len(entries) == 0 {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	defer f.Close() // and unlock
	if err := h.recover(f); err != nil {
		return false, 0, err
	}
	have, err := readHosts(f)
	if err != nil {
		return false, 0, err
	}
	before, after := splitHosts(have, h.network, h.domain)
	lines, more := hostsLines(entries, h.domain, namesIn(before, after))
	want := editHosts(have, h.network, h.domain, lines)
	if bytes.Equal(want, have) {
		return false, more, nil
	}
	return true, more, h.write(f, have, want)
}

// finish ends a write that was cut off, if there was one.
func (h hostsFile) finish(ctx context.Context) error {
	if found, err := filepath.Glob(filepath.Join(h.journal, "hosts-*.journal")); err != nil || len(found) == 0 {
		return err
	}
	f, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	return h.recover(f)
}

// lock opens the file and keeps the daemons of other networks out of it.
func (h hostsFile) lock(ctx context.Context) (*os.File, error) {
	for {
		f, err := h.open()
		if errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("open %s: %w (lsattr and findmnt tell what forbids that it is written)", h.path, bare(err))
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", h.path, bare(err))
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if h.isCurrent(f) {
				return f, nil
			}
			f.Close() // replaced since it was opened
			continue
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", h.path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: another program keeps it locked (see /proc/locks): %w", h.path, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h hostsFile) open() (*os.File, error) {
	f, err := os.OpenFile(h.path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) && h.hasFolder() {
		return os.OpenFile(h.path, os.O_RDWR|os.O_CREATE, 0o644)
	}
	return f, err
}

func (h hostsFile) hasFolder() bool {
	_, err := os.Stat(filepath.Dir(h.path))
	return err == nil
}

func (h hostsFile) isCurrent(f *os.File) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(h.path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func readHosts(f *os.File) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHostsFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if len(b) > maxHostsFile {
		return nil, fmt.Errorf("read %s: it has more than %d MB: make it smaller or use --dns off", f.Name(), maxHostsFile>>20)
	}
	return b, nil
}

// write replaces have by want in place. The journal is on the disk before the
// first byte changes, so that whoever comes next finishes what a crash cut off.
func (h hostsFile) write(f *os.File, have, want []byte) error {
	path, err := h.journalPath(f)
	if err != nil {
		return err
	}
	h.before("journal")
	// Names are taken away also where there is no room for the copy: they would stay for
	// good, while a crash in that very moment is not likely.
	if err := writeJournal(path, journal{Have: have, Want: want}); err != nil && len(want) >= len(have) {
		return fmt.Errorf("keep a copy of %s before it is changed: %w", h.path, err)
	}
	failed := h.overwrite(f, have, want)
	if failed != nil && !h.restored(f, have, want) {
		return failed // the copy may be of use yet
	}
	h.before("remove journal")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(failed, fmt.Errorf("remove the copy of %s: %w", h.path, bare(err)))
	}
	return failed
}

// restored undoes a write that found no room. What was there before has its room still.
func (h hostsFile) restored(f *os.File, have, want []byte) bool {
	from := commonPrefix(have, want)
	_, err := f.WriteAt(have[from:], int64(from))
	return errors.Join(err, f.Truncate(int64(len(have)))) == nil
}

// overwrite touches nothing before the first difference: as long as the block is
// the file's end, no line of others is ever written.
func (h hostsFile) overwrite(f *os.File, have, want []byte) error {
	from := commonPrefix(have, want)
	h.before("write")
	if _, err := f.WriteAt(want[from:], int64(from)); err != nil {
		return fmt.Errorf("write %s: %w", h.path, bare(err))
	}
	h.before("truncate")
	if len(want) < len(have) {
		if err := f.Truncate(int64(len(want))); err != nil {
			return fmt.Errorf("shorten %s: %w", h.path, bare(err))
		}
	}
	h.before("sync")
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", h.path, bare(err))
	}
	return nil
}

func (h hostsFile) before(step string) {
	if h.step != nil {
		h.step(step)
	}
}

// journal is what a write of /etc/hosts had before it and wants.
type journal struct {
	Have []byte `json:"have"`
	Want []byte `json:"want"`
}

// journalPath is a journal's file, by the file it is of: hosts in containers and
// namespaces share folders of state, not /etc/hosts.
func (h hostsFile) journalPath(f *os.File) (string, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return "", fmt.Errorf("examine %s: %w", h.path, err)
	}
	return filepath.Join(h.journal, fmt.Sprintf("hosts-%x-%x.journal", s.Dev, s.Ino)), nil
}

func writeJournal(path string, j journal) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return replaceFile(path, b)
}

// recover finishes a write that was cut off. What somebody else wrote since is
// left as it is.
func (h hostsFile) recover(f *os.File) error {
	path, err := h.journalPath(f)
	if err != nil {
		return err
	}
	// Nobody else writes one now, so these are what crashes left.
	left, _ := filepath.Glob(temporary(path))
	for _, l := range left {
		_ = os.Remove(l) // it costs some room, no more
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the copy of %s: %w", h.path, err)
	}
	// A journal that cannot be read was never whole: it is renamed into place
	// before the first byte of the file changes.
	var j journal
	if err := json.Unmarshal(b, &j); err == nil {
		have, err := readHosts(f)
		if err != nil {
			return err
		}
		if isTorn(have, j) {
			if err := h.overwrite(f, have, j.Want); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the copy of %s: %w", h.path, err)
	}
	return nil
}

// isTorn tells a text that a write of the journal left when it was cut off, also
// by the power: a part of what it wants and then the rest of what was there, or
// nothing, or zeros.
func isTorn(text []byte, j journal) bool {
	if bytes.Equal(text, j.Have) || bytes.Equal(text, j.Want) {
		return false
	}
	if bytes.IndexByte(text, 0) >= 0 && bytes.IndexByte(j.Have, 0) < 0 {
		return true
	}
	n := commonPrefix(text, j.Want)
	rest := text[n:]
	if len(rest) == 0 || bytes.HasPrefix(j.Have, text) {
		return true
	}
	return n <= len(j.Have) && bytes.Equal(rest, j.Have[n:])
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
