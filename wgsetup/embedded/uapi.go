package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// wg(8) looks in this directory for sockets of userspace devices, each with its
// device's name and this suffix.
const (
	uapiDirectory = "/var/run/wireguard"
	uapiSuffix    = ".sock"
)

// maxUAPI bounds the clients served at once.
const maxUAPI = 8

// ServeUAPI serves the configuration protocol on the socket where wg(8) looks
// for this device, until ctx ends or the device does. Only root can connect.
func (d *Device) ServeUAPI(ctx context.Context) error {
	l, err := listenUAPI(filepath.Join(uapiDirectory, d.name+uapiSuffix))
	if err != nil {
		return fmt.Errorf("serve device %s to wg: %w", d.name, err)
	}
	var (
		mu    sync.Mutex
		conns = make(map[net.Conn]struct{})
		wg    sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-d.Done():
		}
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			c.Close()
		}
		conns = nil
	})
	defer wg.Wait()
	defer cancel()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("serve device %s to wg: %w", d.name, err)
		}
		mu.Lock()
		if conns == nil || len(conns) >= maxUAPI {
			mu.Unlock()
			c.Close()
			continue
		}
		conns[c] = struct{}{}
		mu.Unlock()
		wg.Go(func() {
			d.wg.IpcHandle(c)
			mu.Lock()
			defer mu.Unlock()
			delete(conns, c)
		})
	}
}

// listenUAPI listens on path; a socket that a killed process left is replaced.
func listenUAPI(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, dialErr := net.Dial("unix", path); dialErr == nil {
			c.Close()
			return nil, err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	// The private key can be read here. Until this line the umask, usually
	// 022, keeps others from connecting, which takes write permission.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// RemoveDeadUAPI removes the sockets that killed processes left of devices whose
// names have the prefix, and returns their paths. Those that somebody answers
// at stay, and those of the devices that keep names.
func RemoveDeadUAPI(prefix string, keep func(name string) bool) (removed []string, err error) {
	return removeDead(uapiDirectory, prefix, keep)
}

func removeDead(directory, prefix string, keep func(name string) bool) (removed []string, err error) {
	entries, err := os.ReadDir(directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list sockets of userspace devices: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name, isSocket := strings.CutSuffix(e.Name(), uapiSuffix)
		isSocket = isSocket && e.Type() == fs.ModeSocket
		if !isSocket || !strings.HasPrefix(name, prefix) || keep(name) {
			continue
		}
		path := filepath.Join(directory, e.Name())
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		switch err := os.Remove(path); {
		case err == nil:
			removed = append(removed, path)
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("remove dead socket: %w", err))
		}
	}
	return removed, errors.Join(errs...)
}
