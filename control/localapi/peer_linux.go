package localapi

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerIsRoot tells whether the process at the other end of a unix socket runs
// as uid 0, as the kernel knows it (SO_PEERCRED, unix(7)).
func peerIsRoot(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	root := false
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		root = err == nil && cred.Uid == 0
	})
	return root
}
