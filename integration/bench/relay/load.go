package main

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A load is what the clients send.
type load struct {
	size  int // of a datagram without a header
	train int // datagrams merged by the sender (UDP_SEGMENT); 1: none
	burst int // datagrams of one pair in a row
	rate  int // datagrams a second in both directions; 0: as many as pass
}

// window is how many datagrams are under way in each direction, at most, where
// the load has no rate.
const window = 512

// A direction is what one side sends and the other receives.
type direction struct {
	senders   []sender
	received  atomic.Int64
	expecting int // size of a datagram at the receiver
	receivers []*net.UDPConn
}

// A sender is one client socket with everything prepared for one system call.
type sender struct {
	conn     *net.UDPConn
	fd       int
	name     unix.RawSockaddrInet4
	control  [24]byte
	iovec    unix.Iovec
	messages []unix.Mmsghdr
	packets  int // sent by one call
	b        []byte
}

func newDirections(c *contender, l load) [2]*direction {
	payload := make([]byte, l.size/16*16)
	payload[0] = 4 // WireGuard data
	toBob, toAlice := &direction{}, &direction{}
	for _, f := range c.flows {
		framed := datagram(f.header, payload)
		toBob.senders = append(toBob.senders, newSender(f.alice, f.toBob, framed, l))
		toAlice.senders = append(toAlice.senders, newSender(f.bob, f.toAlice, payload, l))
		toBob.receivers = append(toBob.receivers, f.bob)
		toAlice.receivers = append(toAlice.receivers, f.alice)
		toBob.expecting, toAlice.expecting = len(payload), len(framed)
	}
	return [2]*direction{toBob, toAlice}
}

func newSender(c *net.UDPConn, to netip.AddrPort, datagram []byte, l load) sender {
	s := sender{conn: c, packets: max(l.burst, l.train)}
	port := to.Port()
	s.name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4(), Port: port<<8 | port>>8}
	for range l.train {
		s.b = append(s.b, datagram...)
	}
	if l.train > 1 {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&s.control))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(s.control[unix.SizeofCmsghdr:], uint16(len(datagram)))
	}
	s.messages = make([]unix.Mmsghdr, s.packets/l.train)
	return s
}

// prepare makes the pointers, when the sender has its place.
func (s *sender) prepare(train bool) {
	s.iovec.Base = &s.b[0]
	s.iovec.SetLen(len(s.b))
	for i := range s.messages {
		h := &s.messages[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.name)), unix.SizeofSockaddrInet4
		h.Iov = &s.iovec
		h.SetIovlen(1)
		if train {
			h.Control = &s.control[0]
			h.SetControllen(len(s.control))
		}
	}
	s.fd = fdOf(s.conn)
}

func (s *sender) send() {
	for m := s.messages; len(m) > 0; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
		if errno != 0 {
			return // the datagrams are lost, and not received
		}
		m = m[n:]
	}
}

// pause sleeps without the Go scheduler, whose timers would wake others up.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil)
}

func fdOf(c *net.UDPConn) (fd int) {
	raw, err := c.SyscallConn()
	if err == nil {
		_ = raw.Control(func(f uintptr) { fd = int(f) })
	}
	return fd
}

// run sends the load both ways until ctx ends.
func run(ctx context.Context, c *contender, l load) (directions [2]*direction, wait func()) {
	var group sync.WaitGroup
	directions = newDirections(c, l)
	for _, d := range directions {
		for i := range d.senders {
			d.senders[i].prepare(l.train > 1)
		}
		group.Go(func() { d.receive(ctx) })
		group.Go(func() { d.send(ctx, l) })
	}
	return directions, group.Wait
}

// send sends from one socket after the other.
func (d *direction) send(ctx context.Context, l load) {
	began, sent, lost := time.Now(), int64(0), int64(0)
	stalled := began
	for i := 0; ctx.Err() == nil; i = (i + 1) % len(d.senders) {
		s := &d.senders[i]
		if l.rate > 0 {
			for sent > int64(time.Since(began).Seconds()*float64(l.rate)/2) {
				pause(100 * time.Microsecond)
			}
		} else {
			for before := d.received.Load(); sent+int64(s.packets)-lost-before > window; {
				if now := d.received.Load(); now != before {
					before, stalled = now, time.Now()
				} else if time.Since(stalled) > 20*time.Millisecond {
					lost, stalled = sent-before, time.Now()
				}
				pause(10 * time.Microsecond)
			}
			stalled = time.Now()
		}
		s.send()
		sent += int64(s.packets)
	}
}

// receive counts what arrives at all sockets of a side. It looks now and then: were
// it to wait, the relay would pay for waking it up, and on a real network does not.
func (d *direction) receive(ctx context.Context) {
	const batch, slot = 32, 1 << 16
	var (
		headers  [batch]unix.Mmsghdr
		iovecs   [batch]unix.Iovec
		controls [batch][32]byte
	)
	b := make([]byte, batch*slot)
	for i := range headers {
		iovecs[i].Base = &b[i*slot]
		iovecs[i].SetLen(slot)
		headers[i].Hdr.Iov = &iovecs[i]
		headers[i].Hdr.SetIovlen(1)
	}
	var fds []int
	for _, c := range d.receivers {
		fd := fdOf(c)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		fds = append(fds, fd)
	}
	for ; ctx.Err() == nil; pause(100 * time.Microsecond) {
		for _, fd := range fds {
			d.received.Add(int64(d.drain(fd, headers[:], controls[:])))
		}
	}
	runtime.KeepAlive(b)
}

// drain returns how many datagrams wait in a socket, and takes them.
func (d *direction) drain(fd int, headers []unix.Mmsghdr, controls [][32]byte) (count int) {
	for {
		for i := range headers {
			headers[i].Hdr.Control = &controls[i][0]
			headers[i].Hdr.SetControllen(len(controls[i]))
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])),
			uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return count
		}
		for i := range headers[:n] {
			count += (int(headers[i].Len) + d.expecting - 1) / d.expecting
		}
		if int(n) < len(headers) {
			return count
		}
	}
}
