package lan

import (
	"errors"

	"golang.org/x/sys/unix"
)

// shareGroupPort lets several programs have the port, and a socket hear only what
// it joined.
func shareGroupPort(fd uintptr, network string) error {
	err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if network == "udp4" {
		return errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0))
	}
	return errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0))
}
