package pollset

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// batch bounds what one Wait tells.
const batch = 32

// Set is a set of sockets.
type Set struct {
	file *os.File
	raw  syscall.RawConn
}

// New returns an empty Set.
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	// Only a descriptor that does not block is one for the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("make epoll instance: %w", err), unix.Close(fd))
	}
	s := &Set{file: os.NewFile(uintptr(fd), "epoll")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("make epoll instance: %w", err), s.file.Close())
	}
	return s, nil
}

// Add puts a socket into the set; Wait tells its id.
func (s *Set) Add(fd int, id uint32) error {
	return s.change(unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id)})
}

// Remove takes a socket out of the set.
func (s *Set) Remove(fd int) error { return s.change(unix.EPOLL_CTL_DEL, fd, nil) }

func (s *Set) change(op, fd int, event *unix.EpollEvent) error {
	var err error
	if s.raw.Control(func(set uintptr) { err = unix.EpollCtl(int(set), op, fd, event) }) != nil {
		err = os.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("change epoll instance: %w", err)
	}
	return nil
}

// Wait appends the ids of sockets that may be readable, as soon as there are
// any. Reading one may still find nothing. After Close it is os.ErrClosed.
func (s *Set) Wait(ids []uint32) ([]uint32, error) {
	var events [batch]unix.EpollEvent
	var n int
	var err error
	closed := s.raw.Read(func(set uintptr) bool {
		for {
			n, err = unix.EpollWait(int(set), events[:], 0)
			if !errors.Is(err, unix.EINTR) {
				return n > 0 || err != nil
			}
		}
	})
	if closed != nil { // without deadlines there is no other error
		return ids, os.ErrClosed
	}
	if err != nil {
		return ids, fmt.Errorf("wait for sockets: %w", err)
	}
	for _, e := range events[:n] {
		ids = append(ids, uint32(e.Fd))
	}
	return ids, nil
}

// Close frees a blocked Wait. The sockets stay open.
func (s *Set) Close() error { return s.file.Close() }
