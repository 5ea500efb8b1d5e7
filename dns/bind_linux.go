package dns

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// setFreebind lets a socket have an address that the device gets a moment later, or loses for a moment.
func setFreebind(fd int, network string) error {
	level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
	if strings.HasSuffix(network, "6") {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, 1))
}
