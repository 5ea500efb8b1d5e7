package control

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// With kernel WireGuard a settled node hardly runs any code, and two thirds of
// its resident memory are pages of the program that only the start needed, or
// that lie beside such as are needed. Giving them back and taking a few again
// costs less than a millisecond; what is free in the heap goes with them less
// often, which takes some milliseconds.
const (
	releaseEvery = 10 * time.Second
	freeEvery    = time.Minute
)

// residence is when that was done.
type residence struct{ released, freed time.Time }

// look does what is due.
func (r *residence) look(now time.Time) error {
	if now.Sub(r.freed) >= freeEvery {
		r.freed = now
		debug.FreeOSMemory()
	}
	if now.Sub(r.released) < releaseEvery {
		return nil
	}
	r.released = now
	return releaseProgram()
}

// releaseProgram gives the program's own pages back. They stay in the page
// cache, and what is used again costs a minor fault. Writable parts are left
// alone.
func releaseProgram() error {
	all, err := ownPages()
	if err != nil {
		return err
	}
	for _, r := range all {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give pages of the program back: %w", errno)
		}
	}
	return nil
}

type pages struct{ from, to uintptr }

// ownPages are those of the program that are as they are in its file, for good.
var ownPages = sync.OnceValues(func() (all []pages, err error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	// Read-only data of a program that may be loaded anywhere was relocated, and
	// would come back as it is in the file: of such a one, code alone is safe.
	unchanged := []string{"r-xp"}
	if fixed, err := loadedWhereLinked(); err != nil {
		return nil, err
	} else if fixed {
		unchanged = append(unchanged, "r--p")
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("read the own mappings: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var r pages
		var access string
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &r.from, &r.to, &access); err != nil || !strings.HasSuffix(line, " "+exe) {
			continue
		}
		if slices.Contains(unchanged, access) {
			all = append(all, r)
		}
	}
	return all, nil
})

// loadedWhereLinked reads the type of the own program, the first field after the
// identification of an ELF file, which is in the machine's own order of bytes.
func loadedWhereLinked() (bool, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return false, fmt.Errorf("open the own program: %w", err)
	}
	defer f.Close()
	const identification = 16
	header := make([]byte, identification+2)
	if _, err := io.ReadFull(f, header); err != nil {
		return false, fmt.Errorf("read the own program: %w", err)
	}
	return elf.Type(binary.NativeEndian.Uint16(header[identification:])) == elf.ET_EXEC, nil
}
