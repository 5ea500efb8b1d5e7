package wgsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tunPath is where the embedded backend gets its device.
const tunPath = "/dev/net/tun"

// Check says in one line why a backend cannot run here, and what would do. It
// tries and changes nothing.
func Check(b Backend) error {
	_, err := choose(b)
	return err
}

// choose turns Auto into a backend that this host has.
func choose(b Backend) (Backend, error) {
	if err := haveNetAdmin(); err != nil {
		return "", err
	}
	switch b {
	case Kernel:
		return Kernel, haveKernel()
	case Embedded:
		return Embedded, haveTUN()
	case Auto, "":
		if haveKernel() == nil {
			return Kernel, nil
		}
		if err := haveTUN(); err != nil {
			return "", fmt.Errorf("this kernel has no WireGuard module, and without it %w", err)
		}
		return Embedded, nil
	}
	return "", fmt.Errorf("no backend %q: say auto, kernel or embedded", b)
}

// haveNetAdmin removes a link that no host has: the kernel asks for permission
// first.
func haveNetAdmin() error {
	h, err := openHost()
	if err != nil {
		return err
	}
	defer h.close()
	attrs := netlink.NewLinkAttrs()
	attrs.Index = 1<<31 - 1
	err = h.nl.LinkDel(&netlink.Dummy{LinkAttrs: attrs})
	if !errors.Is(err, unix.EPERM) {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("CredAnt changes network interfaces, which takes root: run it with sudo")
	}
	return errors.New("root here has no CAP_NET_ADMIN: start the container with --cap-add NET_ADMIN")
}

// haveKernel asks for WireGuard's netlink family; asking loads the module.
func haveKernel() error {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer c.Close()
	_, err = c.GetFamily(unix.WG_GENL_NAME)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("this kernel has no WireGuard module: load it (modprobe wireguard) or use --backend embedded")
	case err != nil:
		return fmt.Errorf("look for WireGuard: %w", err)
	}
	return nil
}

func haveTUN() error {
	f, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the embedded backend needs " + tunPath + ": load the module (modprobe tun), in a container add --device " + tunPath)
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the embedded backend may not open " + tunPath + ": in a container add --device " + tunPath)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return errors.New("this kernel has no TUN driver behind " + tunPath + ": load the module (modprobe tun)")
	}
	return fmt.Errorf("open the embedded backend's device: %w", err)
}
