package forward

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/relay"
)

const (
	maxParts   = 2 * batchSize
	maxHeaders = 2 * batchSize
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// maxTrain keeps a train under the size of an IP packet.
	maxTrain = 65_000
	// maxBill is what the buckets are asked for at once.
	maxBill = 64 << 10
	// noTrainsTime is how long a destination that refused a train gets none: its
	// path's MTU or its interface may change.
	noTrainsTime = int64(time.Minute)
)

// A part is a datagram of a flow, or a train of them that the kernel merged.
type part struct {
	b       []byte
	segment int // the size of each but perhaps the last, which may be shorter
	packets int
	next    int16 // part of the same group, -1: none
}

// A group is what one flow has to send.
type group struct {
	flow        *flow
	target      *target // nil: sent
	first, last int16
	bytes       int
}

// A run is one message: equal parts of one group, in their order.
type run struct {
	flow                    *flow
	target                  *target
	segment, packets, bytes int
	iovec, iovecs           int
}

// outgoing collects a batch's parts by flow, and sends them.
type outgoing struct {
	parts           [maxParts]part
	groups          [maxParts]group
	nParts, nGroups int

	runs           [maxHeaders]run
	headers        [maxHeaders]unix.Mmsghdr
	controls       [maxHeaders][controlSize]byte
	iovecs         [maxHeaders]unix.Iovec
	nRuns, nIovecs int
}

func newOutgoing() *outgoing {
	o := new(outgoing)
	for i := range o.controls {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&o.controls[i][0]))
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	return o
}

func (o *outgoing) full() bool { return o.nParts == maxParts }

func (o *outgoing) add(f *flow, p part) {
	i := o.nParts
	o.nParts++
	p.next = -1
	o.parts[i] = p
	// Most often the last one, or one of a few.
	for j := o.nGroups - 1; j >= 0; j-- {
		if g := &o.groups[j]; g.flow == f {
			o.parts[g.last].next = int16(i)
			g.last = int16(i)
			g.bytes += len(p.b)
			return
		}
	}
	o.groups[o.nGroups] = group{flow: f, target: f.target.Load(), first: int16(i), last: int16(i), bytes: len(p.b)}
	o.nGroups++
}

// flush sends everything, all that leaves from one socket at once.
func (o *outgoing) flush(w *worker, now int64) {
	for i := range o.groups[:o.nGroups] {
		if o.groups[i].target == nil {
			continue
		}
		out := o.groups[i].target.out
		for j := i; j < o.nGroups; j++ {
			if g := &o.groups[j]; g.target != nil && g.target.out == out {
				o.load(w, g, now)
				g.target = nil
			}
		}
		o.transmit(w, out, now)
	}
	o.nParts, o.nGroups = 0, 0
}

// load makes runs of a group, as far as its buckets allow.
func (o *outgoing) load(w *worker, g *group, now int64) {
	t := g.target
	paid := g.bytes <= maxBill && relay.TakeAll(t.buckets, now, g.bytes)
	trains := now >= t.noTrains.Load()
	fresh := true // no run of this group to extend
	for i := g.first; i >= 0; i = o.parts[i].next {
		p := &o.parts[i]
		if !paid && !o.pay(w, t, p, now) {
			continue
		}
		if trains {
			if fresh || !o.extend(p) {
				o.start(w, g, p.b, p.segment, p.packets, now)
				fresh = false
			}
			continue
		}
		for b := p.b; len(b) > 0; {
			n := min(p.segment, len(b))
			o.start(w, g, b[:n], n, 1, now)
			b = b[n:]
		}
	}
}

// pay takes a part's bytes from the buckets. When there are not enough, the part
// keeps as many datagrams as there are bytes for.
func (o *outgoing) pay(w *worker, t *target, p *part, now int64) bool {
	if relay.TakeAll(t.buckets, now, len(p.b)) {
		return true
	}
	kept, packets := 0, 0
	for p.packets > 1 && kept < len(p.b) {
		n := min(p.segment, len(p.b)-kept)
		if !relay.TakeAll(t.buckets, now, n) {
			break
		}
		kept += n
		packets++
	}
	w.counters.drop(dropBucket, p.packets-packets)
	p.b, p.packets = p.b[:kept], packets
	return packets > 0
}

// extend adds a part to the last run, if it fits: a train's datagrams have one
// size, and only the last may be shorter.
func (o *outgoing) extend(p *part) bool {
	if o.nRuns == 0 || o.nIovecs == len(o.iovecs) {
		return false
	}
	r := &o.runs[o.nRuns-1]
	switch {
	case r.bytes != r.packets*r.segment: // its last one is shorter
		return false
	case p.segment != r.segment && (p.packets > 1 || p.segment > r.segment):
		return false
	case r.packets+p.packets > maxSegments || r.bytes+len(p.b) > maxTrain:
		return false
	}
	o.iovec(p.b)
	r.packets += p.packets
	r.bytes += len(p.b)
	r.iovecs++
	return true
}

func (o *outgoing) iovec(b []byte) {
	o.iovecs[o.nIovecs].Base = &b[0]
	o.iovecs[o.nIovecs].SetLen(len(b))
	o.nIovecs++
}

// start begins a run.
func (o *outgoing) start(w *worker, g *group, b []byte, segment, packets int, now int64) {
	if o.nRuns == len(o.runs) || o.nIovecs == len(o.iovecs) {
		o.transmit(w, g.target.out, now)
	}
	o.runs[o.nRuns] = run{
		flow: g.flow, target: g.target,
		segment: segment, packets: packets, bytes: len(b),
		iovec: o.nIovecs, iovecs: 1,
	}
	o.nRuns++
	o.iovec(b)
}

// transmit sends the runs from a socket. One that the kernel refuses does not
// stop the others.
func (o *outgoing) transmit(w *worker, out *local, now int64) {
	fd, n := out.fds[w.id], o.nRuns
	o.nRuns, o.nIovecs = 0, 0
	for i := range n {
		o.address(i)
	}
	for at := 0; at < n; {
		sent, errno := sendmmsg(fd, &o.headers[at], n-at)
		switch {
		case errno == 0:
			for i := range sent {
				w.sent(&o.runs[at+i], o.runs[at+i].packets, o.runs[at+i].bytes)
			}
			at += sent
		case errno == unix.EINTR:
		case errno == unix.EAGAIN: // the others will not find more room
			for i := at; i < n; i++ {
				w.counters.drop(dropSendFull, o.runs[i].packets)
			}
			return
		case o.runs[at].packets > 1 && refusesTrains(errno):
			o.runs[at].target.noTrains.Store(now + noTrainsTime)
			o.singly(w, fd, &o.runs[at])
			at++
		default:
			w.refused(errno, o.runs[at].packets)
			at++
		}
	}
}

// address writes the header of run i.
func (o *outgoing) address(i int) {
	r, h := &o.runs[i], &o.headers[i].Hdr
	h.Name = (*byte)(unsafe.Pointer(&r.target.to))
	h.Namelen = r.target.toSize
	h.Iov = &o.iovecs[r.iovec]
	h.SetIovlen(r.iovecs)
	h.Control = nil
	h.SetControllen(0)
	if r.packets > 1 {
		*(*uint16)(unsafe.Pointer(&o.controls[i][unix.SizeofCmsghdr])) = uint16(r.segment)
		h.Control = &o.controls[i][0]
		h.SetControllen(unix.CmsgSpace(2))
	}
}

// refusesTrains says whether datagrams may pass where a train did not: longer
// than the path MTU (EMSGSIZE, EINVAL), no checksums by the interface (EIO), or
// nothing of the kind in this kernel.
func refusesTrains(errno unix.Errno) bool {
	switch errno {
	case unix.EMSGSIZE, unix.EINVAL, unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		return true
	}
	return false
}

// singly sends a run's datagrams one by one.
func (o *outgoing) singly(w *worker, fd int, r *run) {
	for _, v := range o.iovecs[r.iovec : r.iovec+r.iovecs] {
		for b := unsafe.Slice(v.Base, int(v.Len)); len(b) > 0; {
			n := min(r.segment, len(b))
			_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(n),
				unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&r.target.to)), uintptr(r.target.toSize))
			if errno == 0 {
				w.sent(r, 1, n)
			} else {
				w.refused(errno, 1)
			}
			b = b[n:]
		}
	}
}

func sendmmsg(fd int, headers *unix.Mmsghdr, n int) (int, unix.Errno) {
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(headers)),
		uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(sent), errno
}

func (w *worker) sent(r *run, packets, bytes int) {
	r.flow.packets.Add(uint64(packets))
	r.flow.bytes.Add(uint64(bytes))
	w.counters.packets.Add(uint64(packets))
	w.counters.bytes.Add(uint64(bytes))
}

func (w *worker) refused(errno unix.Errno, packets int) {
	why := dropSendError
	if errno == unix.EAGAIN || errno == unix.ENOBUFS {
		why = dropSendFull
	}
	w.counters.drop(why, packets)
}
