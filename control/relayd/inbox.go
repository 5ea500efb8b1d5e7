package relayd

import (
	"net/netip"
	"sync"

	"github.com/credant/credant/relay/wire"
)

// datagram is one that came in for the engine or the DHT. Its buffer goes back
// with release: a flood must not become garbage.
type datagram struct {
	at, from netip.AddrPort
	data     []byte
}

const (
	// largestDatagram is the most that a protocol of the front port sends: a DHT
	// node's answer with an item, or a STUN request with a padding of 1,500 bytes,
	// that asks whether fragments pass. Relay frames end at 1,200 bytes.
	largestDatagram = 2048
	// inboxSize bounds what waits while the loop is busy: four megabytes, part
	// of a second of flood. What does not fit is dropped and counted.
	inboxSize = 2048
	dhtQueue  = 256
)

// inbox is the one way to the loop, from the front ports' readers and the
// forwarder's workers.
type inbox struct {
	queue chan datagram
	free  chan []byte
	drops *drops
}

func newInbox(d *drops) *inbox {
	return &inbox{queue: make(chan datagram, inboxSize), free: make(chan []byte, inboxSize), drops: d}
}

func (i *inbox) buffer() []byte {
	select {
	case b := <-i.free:
		return b
	default:
		return make([]byte, largestDatagram+1)
	}
}

func (i *inbox) release(b []byte) {
	select {
	case i.free <- b[:cap(b)]:
	default:
	}
}

// put takes the buffer over. It never blocks.
func (i *inbox) put(d datagram) {
	select {
	case i.queue <- d:
	default:
		i.drops.count("loop-busy")
		i.release(d.data)
	}
}

// handle is what the forwarder calls with what it does not forward. b is its
// own, and at most the beginning of what is left: relay frames are short, and
// of others only the first bytes matter.
func (i *inbox) handle(at, from netip.AddrPort, b []byte) {
	if len(b) > largestDatagram {
		if wire.IsRelay(b) {
			i.drops.count("size")
			return
		}
		b = b[:largestDatagram]
	}
	own := i.buffer()
	i.put(datagram{at: at, from: from, data: own[:copy(own, b)]})
}

// drops counts received datagrams that were dropped, by reason. Reasons are
// constants of the rooms, so the table stays small.
type drops struct {
	mu    sync.Mutex
	total map[string]uint64
}

func newDrops() *drops { return &drops{total: make(map[string]uint64)} }

func (d *drops) count(reason string) {
	if reason == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total[reason]++
}

func (d *drops) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]uint64, len(d.total))
	for reason, n := range d.total {
		all[reason] = n
	}
	return all
}
