package forward

import (
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// socketBuffer is asked for in each direction: some 30 ms of a full gigabit, for
// when the process does not get a CPU at once. It costs memory only while used.
const socketBuffer = 2 << 20

// A local is an own address and port, with a socket for each worker. Worker i
// reads fds[i] without the mutex, and alone closes it while it runs.
type local struct {
	addr    netip.AddrPort
	keyBits uint64 // its part of a key

	mu  sync.RWMutex
	fds []int // -1: closed
}

// openLocal opens n sockets on one address and port.
func openLocal(index int, addr netip.AddrPort, n int) (*local, error) {
	l := &local{addr: addr, keyBits: keyBits(index, addr.Port()), fds: make([]int, n)}
	for i := range l.fds {
		l.fds[i] = -1
	}
	// A second relay of the same user could share the port by SO_REUSEPORT, and
	// each would get half the sources: a socket without it finds that out.
	probe, err := listen(addr, false)
	if err != nil {
		return nil, err
	}
	_ = unix.Close(probe)
	for i := range l.fds {
		if l.fds[i], err = listen(addr, true); err != nil {
			l.closeAll()
			return nil, err
		}
	}
	return l, nil
}

func listen(addr netip.AddrPort, shared bool) (int, error) {
	family, level, discover := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if addr.Addr().Is6() {
		family, level, discover = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	set := func(level, option, value int) {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, value))
		}
	}
	if family == unix.AF_INET6 {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if shared {
		set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		set(level, discover, unix.IP_PMTUDISC_DONT) // the IPv6 constant has the same value
		for _, option := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], socketBuffer) != nil {
				// Without CAP_NET_ADMIN the kernel grants what sysctl allows.
				set(unix.SOL_SOCKET, option[1], socketBuffer)
			}
		}
		// An old kernel has none and gives single datagrams.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(addr)))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %v: %w", addr, err)
	}
	return fd, nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// send sends from the first socket.
func (l *local) send(to netip.AddrPort, b []byte) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.fds[0] < 0 {
		return os.ErrClosed
	}
	return os.NewSyscallError("sendto", unix.Sendto(l.fds[0], b, unix.MSG_DONTWAIT, sockaddr(to)))
}

// close closes a worker's socket.
func (l *local) close(worker int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fds[worker] >= 0 {
		_ = unix.Close(l.fds[worker])
		l.fds[worker] = -1
	}
}

func (l *local) closeAll() {
	for i := range l.fds {
		l.close(i)
	}
}
