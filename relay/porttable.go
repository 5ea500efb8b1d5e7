package relay

import "time"

const (
	// portLinger is how long a port stays open that nobody uses: to tell those who
	// still send, and so that nobody can have ports opened all the time.
	portLinger = int64(30 * time.Second)
	// portRest is how long a port is left alone that could not be opened: another
	// program has it, or there are too many sockets.
	portRest = int64(10 * time.Minute)
)

// portTable is which relay ports are open, and how many allocations each has.
type portTable struct {
	ports  PortRange
	state  []portState // by offset from the first
	open   int
	failed portSet
	// closing and resting wait to be closed and tried again, in the order of
	// their times. A port stands in each once.
	closing, resting []portEvent
}

type portState struct {
	users        int
	open, queued bool
	unused       int64 // since when, where users is 0
}

type portEvent struct {
	at     int64
	offset int
}

func (t *portTable) offset(port uint16) int { return int(port) - int(t.ports.First) }

// uses says that an allocation has the port, or had it a moment ago.
func (t *portTable) uses(port uint16) bool {
	return t.ports.Contains(port) && t.state[t.offset(port)].open
}

// usePort counts another allocation at a port, and opens it.
func (t *portTable) usePort(offset int, out *outbox) {
	p := &t.state[offset]
	p.users++
	if !p.open {
		p.open = true
		t.open++
		out.add(OpenPort{t.ports.First + uint16(offset)})
	}
}

// freePort counts one less.
func (t *portTable) freePort(now int64, offset int) {
	p := &t.state[offset]
	p.users--
	if p.users > 0 {
		return
	}
	p.unused = now
	if !p.queued {
		p.queued = true
		t.closing = append(t.closing, portEvent{now + portLinger, offset})
	}
}

// failPort takes a port out of use for a while. Its allocations are gone.
func (t *portTable) failPort(now int64, offset int) {
	if t.failed.has(offset) {
		return
	}
	t.failed.add(offset)
	t.resting = append(t.resting, portEvent{now + portRest, offset})
	if p := &t.state[offset]; p.open {
		p.open = false
		t.open--
	}
}

// tend closes what nobody has used for a while, and gives ports another try.
func (t *portTable) tend(now int64, out *outbox) {
	for len(t.closing) > 0 && t.closing[0].at <= now {
		offset := t.closing[0].offset
		t.closing = t.closing[1:]
		p := &t.state[offset]
		switch {
		case p.users > 0 || !p.open:
			p.queued = false
		case p.unused+portLinger > now:
			t.closing = append(t.closing, portEvent{p.unused + portLinger, offset})
		default:
			*p = portState{}
			t.open--
			out.add(ClosePort{t.ports.First + uint16(offset)})
		}
	}
	for len(t.resting) > 0 && t.resting[0].at <= now {
		t.failed.remove(t.resting[0].offset)
		t.resting = t.resting[1:]
	}
}

// next is when tend has something to do.
func (t *portTable) next() (at int64, ok bool) {
	for _, events := range [][]portEvent{t.closing, t.resting} {
		if len(events) > 0 && (!ok || events[0].at < at) {
			at, ok = events[0].at, true
		}
	}
	return at, ok
}
