package wgsetup

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownNamespace is the thread's network namespace, which /proc/sys is of.
const ownNamespace = "/proc/thread-self/ns/net"

// inNamespace runs f where the host's sockets are: settings and programs that
// are started go by the thread. In a daemon that is so anyway, and asking costs
// a system call.
func (h *host) inNamespace(f func()) error {
	if h.namespace == nil {
		f()
		return nil
	}
	runtime.LockOSThread()
	here, err := os.Open(ownNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer here.Close()
	if sameFile(here, h.namespace) {
		f()
		runtime.UnlockOSThread()
		return nil
	}
	if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	f()
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("leave network namespace: %w", err) // the thread ends with the goroutine
	}
	runtime.UnlockOSThread()
	return nil
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}
