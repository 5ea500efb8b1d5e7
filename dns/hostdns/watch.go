package hostdns

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher tells of changes to files, also of ones that are not there yet.
type watcher struct {
	f  *os.File // inotify
	fd int      // f's, which must not be asked for: that would make reading it block a thread

	mu     sync.Mutex
	closed bool
	// names are, by watch, what is looked for in that folder; "": everything.
	names map[int32]map[string]bool
	paths map[string]int32
}

// Not IN_CLOSE_WRITE: /etc/hosts is opened for writing at each look at it, which
// would call for the next one, without end.
const watched = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO |
	unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return &watcher{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, names: map[int32]map[string]bool{}, paths: map[string]int32{}}, nil
}

// set is called again when files may have come or gone: each is watched by its
// folder, or by the nearest one that exists, and itself, because a mount on a
// file is not changed in that folder.
func (w *watcher) set(paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	want := map[string]map[string]bool{}
	add := func(path, name string) {
		if want[path] == nil {
			want[path] = map[string]bool{}
		}
		want[path][name] = true
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			add(path, "")
		}
		for {
			dir, name := filepath.Dir(path), filepath.Base(path)
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				add(dir, name)
				break
			}
			if dir == path {
				break
			}
			path = dir
		}
	}
	names, kept := map[int32]map[string]bool{}, map[string]int32{}
	for path, in := range want {
		// For what is watched already this returns the same number.
		wd, err := unix.InotifyAddWatch(w.fd, path, watched)
		if err != nil {
			continue // gone since, or no watches left: the next event, or Set, looks again
		}
		kept[path] = int32(wd)
		if names[int32(wd)] == nil {
			names[int32(wd)] = in
			continue
		}
		for name := range in {
			names[int32(wd)][name] = true
		}
	}
	for path, wd := range w.paths {
		if names[wd] == nil && kept[path] == 0 {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it may have gone with its file
		}
	}
	w.names, w.paths = names, kept
}

// run calls changed for each change until close.
func (w *watcher) run(changed func()) {
	b := make([]byte, 16<<10)
	for {
		n, err := w.f.Read(b)
		if err != nil {
			return
		}
		if w.concerns(b[:n]) {
			changed()
		}
	}
}

// concerns reads inotify(7)'s events.
func (w *watcher) concerns(b []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		if len(b) < unix.SizeofInotifyEvent+size {
			return true
		}
		name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
		b = b[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_IGNORED != 0 {
			continue // told of before, as deleted
		}
		in := w.names[wd]
		if mask&unix.IN_Q_OVERFLOW != 0 || in[""] || in[name] {
			return true
		}
	}
	return false
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.f.Close()
}
