package forward

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/relay/wire"
)

const (
	// batchSize datagrams, or trains, are read at once.
	batchSize = 64
	// slotSize holds whatever the kernel can have merged. The odd bytes keep the
	// first bytes of all slots from falling into the same cache lines.
	slotSize    = 64<<10 + 4096 + 192
	controlSize = 32 // a control message with an int, or less
)

// batch is what recvmmsg fills.
type batch struct {
	headers  [batchSize]unix.Mmsghdr
	iovecs   [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	controls [batchSize][controlSize]byte
	slots    []byte
}

func newBatch() *batch {
	b := &batch{slots: make([]byte, batchSize*slotSize)}
	for i := range b.headers {
		b.iovecs[i].Base = &b.slots[i*slotSize]
		b.iovecs[i].SetLen(slotSize)
		h := &b.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
		b.rearm(i)
	}
	return b
}

// rearm undoes what the kernel wrote into a header.
func (b *batch) rearm(i int) {
	h := &b.headers[i].Hdr
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(controlSize)
	h.Flags = 0
}

func (b *batch) receive(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
		batchSize, unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// segment is the size of what the kernel merged into datagram i, or 0.
func (b *batch) segment(i int) int {
	const header = unix.SizeofCmsghdr
	if b.headers[i].Hdr.Controllen < header+4 {
		return 0
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&b.controls[i][0]))
	if c.Level != unix.IPPROTO_UDP || c.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b.controls[i][header:]))
}

// forward sorts the n datagrams of the batch, that came to at, and sends them.
func (w *worker) forward(at *local, n int, now int64) {
	var lastKey key
	var last *flow // the one that lastKey finds, or nil
	for i := range n {
		size, name := int(w.in.headers[i].Len), &w.in.names[i]
		segment, cut := w.in.segment(i), w.in.headers[i].Hdr.Flags&unix.MSG_TRUNC != 0
		w.in.rearm(i)
		if cut {
			w.counters.drop(dropTruncated, 1)
			continue
		}
		if k := keyOf(name, at); i == 0 || k != lastKey {
			lastKey, last = k, w.flows.find(k)
		}
		if segment == 0 {
			segment = size
		}
		w.sort(at, last, name, w.in.slots[i*slotSize:i*slotSize+size], segment, now)
	}
	w.out.flush(w, now)
}

// sort adds to what is to be sent the parts of b that may be forwarded, and finds
// a place for the others.
func (w *worker) sort(at *local, f *flow, name *unix.RawSockaddrInet6, b []byte, segment int, now int64) {
	if len(b) == 0 {
		w.counters.drop(dropNotForwardable, 1)
	}
	for len(b) > 0 {
		good, packets := 0, 0
		for good < len(b) && wire.Forwardable(b[good:min(good+segment, len(b))]) {
			good = min(good+segment, len(b))
			packets++
		}
		switch {
		case packets == 0:
			good = min(segment, len(b))
			if wire.IsRelay(b[:good]) {
				w.sieve.frame(now, at.addr, addrPort(name), b[:good])
			} else {
				w.counters.drop(dropNotForwardable, 1)
			}
		case f == nil:
			w.counters.drop(dropNoFlow, packets)
			w.sieve.stray(now, at.addr, addrPort(name), b[:min(segment, good)])
		default:
			if w.out.full() {
				w.out.flush(w, now)
			}
			w.out.add(f, part{b: b[:good], segment: min(segment, good), packets: packets})
		}
		b = b[good:]
	}
}
