package wgsetup

import (
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// MarkSocket is a Control function for net.Dialer and net.ListenConfig. Sockets
// made with it reach the outside past an exit peer: those of the daemon itself.
// It takes CAP_NET_ADMIN.
func MarkSocket(_, _ string, c syscall.RawConn) error {
	var err error
	mark := uint32(Mark)
	if controlErr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark))))
	}); controlErr != nil {
		return controlErr
	}
	return err
}

// HostRoutes returns the host's own networks, those of its links and routes
// that do not stand for a default one: what a peer's subnet must not hide. It
// leaves out devices of CredAnt's.
func (d *Device) HostRoutes() ([]netip.Prefix, error) { return nil, nil }

// Advice returns what a person has to do on this host before Forward and Exit
// can work: a sentence each, with the command. It is of the last Apply and of
// repairs since.
func (d *Device) Advice() []string { return nil }
