package embedded

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// openTUN makes a TUN device that nobody watches. wireguard-go's own watch asks
// each second whether the link is up, and where it is not, closes WireGuard's
// socket, and the side port with it. Setting the link up again is the host's plan.
func openTUN(name string, mtu int) (tun.Device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := attachTUN(fd, name, mtu); err != nil {
		unix.Close(fd)
		return nil, err
	}
	t, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, os.NewSyscallError("set offloads", err)
	}
	return t, nil
}

// attachTUN makes the device behind fd, with its MTU.
func attachTUN(fd int, name string, mtu int) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return os.NewSyscallError("attach", err)
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(control)
	if request, err = unix.NewIfreq(name); err != nil {
		return err
	}
	request.SetUint32(uint32(mtu))
	return os.NewSyscallError("set MTU", unix.IoctlIfreq(control, unix.SIOCSIFMTU, request))
}
