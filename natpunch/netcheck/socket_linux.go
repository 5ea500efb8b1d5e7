package netcheck

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func setMark(c syscall.RawConn, mark int) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark))
	}); e != nil {
		return e
	}
	return err
}

// pathMTU is what the kernel knows of the path of a connected socket: the link's
// MTU, or less where a router said so.
func pathMTU(conn *net.UDPConn, ipv4 bool) (mtu int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	level, option := unix.IPPROTO_IPV6, unix.IPV6_MTU
	if ipv4 {
		level, option = unix.IPPROTO_IP, unix.IP_MTU
	}
	_ = raw.Control(func(fd uintptr) { // zero, when it fails
		if v, err := unix.GetsockoptInt(int(fd), level, option); err == nil {
			mtu = v
		}
	})
	return mtu
}
