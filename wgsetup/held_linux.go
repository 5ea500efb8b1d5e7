package wgsetup

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// heldPorts are sockets whose only purpose is that nobody else gets their
// ports. What arrives there is dropped, without an ICMP error.
//
// There is no need of the kernel's ip_local_reserved_ports: the ports are from
// outside the range that it gives programs by itself, so that a port is safe
// enough while no daemon holds it.
type heldPorts struct {
	mu      sync.Mutex
	pending []heldPort // Keep's, the oldest first; not yet asked for
	held    []heldPort
	closed  bool
}

type heldPort struct {
	port uint16
	fd   int
}

// maxPending bounds the ports that Keep took and SetKept never heard of.
const maxPending = 16

// hold takes over a socket that is bound.
func (h *heldPorts) hold(port uint16, fd int) error {
	if err := dropAll(fd); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.Join(ErrClosed, unix.Close(fd))
	}
	h.pending = append(h.pending, heldPort{port, fd})
	if len(h.pending) <= maxPending {
		return nil
	}
	oldest := h.pending[0]
	h.pending = slices.Delete(h.pending, 0, 1)
	return unix.Close(oldest.fd)
}

// only makes these the ports that are held, besides those that are pending. A
// port that somebody else has is an error, and the others are held.
func (h *heldPorts) only(ports []uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed && len(ports) > 0 {
		return ErrClosed
	}
	wanted := make(map[uint16]bool, len(ports))
	for _, p := range ports {
		wanted[p] = true
	}
	var errs []error
	held := h.held[:0]
	for _, s := range h.held {
		if wanted[s.port] {
			delete(wanted, s.port)
			held = append(held, s)
		} else {
			errs = append(errs, unix.Close(s.fd))
		}
	}
	h.pending = slices.DeleteFunc(h.pending, func(s heldPort) bool {
		if wanted[s.port] {
			delete(wanted, s.port)
			held = append(held, s)
			return true
		}
		return false
	})
	for port := range wanted {
		fd, _, err := listenUDP(port)
		if err == nil {
			if err = dropAll(fd); err != nil {
				unix.Close(fd)
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		held = append(held, heldPort{port, fd})
	}
	h.held = held
	return errors.Join(errs...)
}

// release closes what Keep took and SetKept asks for now: somebody else, who
// can be trusted with it, is about to bind it.
func (h *heldPorts) release(port uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = slices.DeleteFunc(h.pending, func(s heldPort) bool {
		if s.port == port {
			unix.Close(s.fd)
		}
		return s.port == port
	})
}

func (h *heldPorts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range append(h.pending, h.held...) {
		unix.Close(s.fd)
	}
	h.pending, h.held = nil, nil
}

// dropAll has the kernel drop what arrives at a socket.
func dropAll(fd int) error {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // of no byte
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("close UDP socket's ears: %w", err)
	}
	return nil
}
