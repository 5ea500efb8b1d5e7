package forward

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxEvents sockets are served in one round.
	maxEvents = 64
	// batchesInARow is how often one socket is read before others have their turn.
	batchesInARow = 4
	// yieldTime is under the 10 ms after which the runtime takes a P away from a
	// goroutine that has not been scheduled, at every system call it is then seen in.
	yieldTime = int64(5 * time.Millisecond)
	// Being woken up costs as much as forwarding ten packets. Where the next
	// datagram comes within denseTime, the one after it is left to wait for others
	// for gatherTime, as network interfaces do (interrupt moderation).
	denseTime  = int64(150 * time.Microsecond)
	gatherTime = int64(100 * time.Microsecond)
)

// A worker reads its socket of every port, and sends.
type worker struct {
	id       int
	flows    *table
	sieve    sieve
	counters counters
	began    time.Time // its clock's zero

	epoll, wake int // descriptors, -1 when not open
	events      [maxEvents]unix.EpollEvent
	sockets     map[int32]*local // by its own descriptor

	in  *batch
	out *outgoing

	mu       sync.Mutex
	commands []command
	stopped  bool // the loop ends, or has ended: there is nobody to do anything
}

type command struct {
	do   func() error
	done chan error
}

var errStopped = errors.New("the worker has ended")

func newWorker(id int, flows *table, up *upward) *worker {
	w := &worker{id: id, flows: flows, epoll: -1, wake: -1, sockets: make(map[int32]*local), began: time.Now()}
	w.sieve = sieve{up: up, counters: &w.counters}
	return w
}

// open makes what the loop needs.
func (w *worker) open() (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	w.in, w.out = newBatch(), newOutgoing()
	return w.watch(w.wake)
}

func (w *worker) close() {
	for _, fd := range []*int{&w.epoll, &w.wake} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	clear(w.sockets)
	w.in, w.out = nil, nil
}

func (w *worker) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// adopt reads a local's socket from now on.
func (w *worker) adopt(l *local) error {
	fd := l.fds[w.id]
	if err := w.watch(fd); err != nil {
		return fmt.Errorf("watch %v: %w", l.addr, err)
	}
	w.sockets[int32(fd)] = l
	return nil
}

// abandon closes a local's socket, which also ends watching it.
func (w *worker) abandon(l *local) {
	delete(w.sockets, int32(l.fds[w.id]))
	l.close(w.id)
}

// do has the loop call f between two rounds, and waits.
func (w *worker) do(f func() error) error {
	c := command{f, make(chan error, 1)}
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return errStopped
	}
	w.commands = append(w.commands, c)
	w.mu.Unlock()
	w.signal()
	return <-c.done
}

// stop ends the loop.
func (w *worker) stop() {
	w.end()
	w.signal()
}

// signal wakes the loop. The counter it adds to cannot overflow.
func (w *worker) signal() {
	_, _ = unix.Write(w.wake, []byte{7: 1})
}

// end refuses what comes and what waits.
func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, c := range w.commands {
		c.done <- errStopped
	}
	w.commands = nil
}

// obey does what was asked, and says whether to go on.
func (w *worker) obey() bool {
	var count [8]byte
	_, _ = unix.Read(w.wake, count[:])
	w.mu.Lock()
	commands, stopped := w.commands, w.stopped
	w.commands = nil
	w.mu.Unlock()
	for _, c := range commands {
		c.done <- c.do()
	}
	return !stopped
}

func (w *worker) run() error {
	defer w.end()
	var yielded int64
	for {
		waiting := w.now()
		n, err := unix.EpollWait(w.epoll, w.events[:], -1)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("epoll_wait", err)
		}
		dense := w.now()-waiting < denseTime
		commanded, served := false, 0
		for _, event := range w.events[:max(n, 0)] {
			if int(event.Fd) == w.wake {
				commanded = true
			} else if l := w.sockets[event.Fd]; l != nil {
				served += w.drain(l)
			}
		}
		if commanded && !w.obey() {
			return nil
		}
		if dense && served > 0 && served < batchSize {
			pause(gatherTime)
		}
		if waiting-yielded > yieldTime {
			runtime.Gosched()
			yielded = waiting
		}
	}
}

// pause sleeps. time.Sleep would cost more than it saves.
func pause(nanoseconds int64) {
	t := unix.NsecToTimespec(nanoseconds)
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// now is the worker's clock, in nanoseconds.
func (w *worker) now() int64 { return int64(time.Since(w.began)) }

// drain forwards what waits in a socket, up to a limit: epoll tells of the rest.
// It returns how many datagrams, or trains, there were.
func (w *worker) drain(l *local) (served int) {
	for range batchesInARow {
		n, errno := w.in.receive(l.fds[w.id])
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			if errno != unix.EAGAIN {
				w.counters.drop(dropReceiveError, 1) // of an earlier send, and with it gone
			}
			return served
		}
		w.forward(l, n, w.now())
		served += n
		if n < batchSize {
			break
		}
	}
	return served
}
