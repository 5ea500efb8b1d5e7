package relay

import (
	"bytes"
	"net/netip"
	"time"
)

const (
	// copyDelay is when a push is sent again: losses come in bursts shorter than
	// that.
	copyDelay = int64(300 * time.Millisecond)
	// maxCopies bounds what waits to be sent again, 10 MB at most. A push beyond
	// it is sent once; the next refresh tells who has missed one.
	maxCopies = 8192
	// maxOutputs bounds what waits for Advance, should nobody call it.
	maxOutputs = 32768
)

// outbox is what the server wants done.
type outbox struct {
	outputs []Output
	// copies are in the order of their time.
	copies []copied
	head   int
}

type copied struct {
	at   int64
	send Send
}

// full says that what is not needed should not be added.
func (o *outbox) full() bool { return len(o.outputs) >= maxOutputs }

func (o *outbox) add(out Output) { o.outputs = append(o.outputs, out) }

func (o *outbox) send(from, to netip.AddrPort, data []byte) {
	o.add(Send{From: from, To: to, Data: data})
}

// sendTwice sends now and a little later.
func (o *outbox) sendTwice(now int64, from, to netip.AddrPort, data []byte) {
	o.send(from, to, data)
	if len(o.copies)-o.head < maxCopies {
		// Sealed frames lie in buffers of a full frame's size.
		o.copies = append(o.copies, copied{now + copyDelay, Send{From: from, To: to, Data: bytes.Clone(data)}})
	}
}

// next is when a copy is due; 0 is at once.
func (o *outbox) next() (at int64, ok bool) {
	if len(o.outputs) > 0 {
		return 0, true
	}
	if o.head < len(o.copies) {
		return o.copies[o.head].at, true
	}
	return 0, false
}

// take hands out what is due.
func (o *outbox) take(now int64) []Output {
	for o.head < len(o.copies) && o.copies[o.head].at <= now {
		o.add(o.copies[o.head].send)
		o.copies[o.head] = copied{}
		o.head++
	}
	if o.head == len(o.copies) {
		o.copies, o.head = nil, 0
	} else if o.head > maxCopies/2 {
		o.copies = append([]copied(nil), o.copies[o.head:]...)
		o.head = 0
	}
	out := o.outputs
	o.outputs = nil
	return out
}
