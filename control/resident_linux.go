package control

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// With kernel WireGuard a settled node hardly runs any code, and two thirds of
// its resident memory are pages of the program that only the start needed. What
// is free in the heap goes back with them: a few milliseconds of work.
const releaseEvery = time.Minute

// releaseProgram gives the program's own pages back. They stay in the page
// cache, and what is used again costs a minor fault. Writable parts are left
// alone.
func releaseProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read the own mappings: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to uintptr
		var access string
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || !strings.HasSuffix(line, " "+exe) {
			continue
		}
		// Read-only data may have been relocated when the program was loaded,
		// and would come back as it is in the file: code alone is safe.
		if access != "r-xp" {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give pages of the program back: %w", errno)
		}
	}
	return nil
}
