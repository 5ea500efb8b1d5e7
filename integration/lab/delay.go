package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A delay makes the backbone hold back what it forwards. netem does that where the kernel has it; this needs nothing
// but TUN devices: what arrives from a cable is routed into one, and comes out of the other after a while.
type delay struct {
	by      time.Duration
	in, out *os.File // what is to be held back comes out of in, and goes into out again
	running sync.WaitGroup
}

// delayed is a packet and when it is to go on.
type delayed struct {
	at     time.Time
	packet []byte
}

// delayQueue is how many packets are held back at most; what comes then is lost, as at any router.
const delayQueue = 4096

func (n *Node) startDelay(by time.Duration) (*delay, error) {
	d := &delay{by: by}
	err := n.Do(func() (err error) {
		if d.in, err = openTUN("slowin"); err != nil {
			return err
		}
		if d.out, err = openTUN("slowout"); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		d.close()
		return nil, fmt.Errorf("delay what %s forwards: %w", n.Name, err)
	}
	for _, name := range []string{"slowin", "slowout"} {
		if err := n.setUp(name); err != nil {
			d.close()
			return nil, err
		}
	}
	if err := n.routeThrough(); err != nil {
		d.close()
		return nil, err
	}
	d.start()
	return d, nil
}

// routeThrough sends what the node forwards into slowin.
func (n *Node) routeThrough() error {
	return n.Do(func() error {
		script := "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/slowout/rp_filter; "
		for _, family := range []string{"-4", "-6"} {
			// What has been held back, and what the node says itself, goes as usual.
			for _, rule := range []string{
				"rule add pref 10 iif slowout lookup main", "rule add pref 20 iif lo lookup main",
				"route add default dev slowin table 77", "rule add pref 30 lookup 77",
			} {
				script += "ip " + family + " " + rule + " && "
			}
		}
		if out, err := exec.Command("sh", "-c", script+"true").CombinedOutput(); err != nil {
			return fmt.Errorf("route through the delay: %w: %s", err, out)
		}
		return nil
	})
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open TUN device: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // only so does Close end a Read
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d *delay) start() {
	queue := make(chan delayed, delayQueue)
	d.running.Go(func() {
		defer close(queue)
		buf := make([]byte, 1<<16)
		for {
			size, err := d.in.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			select {
			case queue <- delayed{time.Now().Add(d.by), append([]byte(nil), buf[:size]...)}:
			default:
			}
		}
	})
	d.running.Go(func() {
		for p := range queue {
			time.Sleep(time.Until(p.at))
			_, _ = d.out.Write(p.packet)
		}
	})
}

func (d *delay) close() {
	for _, f := range []*os.File{d.in, d.out} {
		if f != nil {
			_ = f.Close()
		}
	}
	d.running.Wait()
}
