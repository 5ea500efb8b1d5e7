package natpunch

import "math/rand/v2"

const (
	// lowestPort is the lowest that NATs give out but for preserved ones.
	lowestPort = 1024
	// predicted ports are checked for one mapping: those behind the last known,
	// and a few before it, because a survey may have come after the mapping.
	predictedAhead, predictedBehind = 96, 16
	// matchedPorts are those of one try where both sides are sequential. The first
	// lie a little before what is expected.
	matchedPorts, matchedSlack = 96, 8
	// matchedTries of them are 288 mappings.
	matchedTries = 3
	// overlap is by how much less than a block of sequential mappings the scan for
	// it advances: some of the block's ports are other hosts'.
	overlap = sprayPorts / 4
	// largestStep is the largest that makes ports predictable.
	largestStep = 16
)

// predictedPorts are the ports that one mapping of the sender of o may have.
func predictedPorts(o offer) []uint16 {
	ports := newPortList(o)
	for i := range predictedAhead {
		ports.add(int(o.Next) + i*int(o.Step))
		if i > 0 && i <= predictedBehind {
			ports.add(int(o.Next) - i*int(o.Step))
		}
	}
	return ports.list
}

// likelyPorts are n ports, none twice, of which each may be one of the many that the
// sender of o has: of a block of sequential ones it takes a few to hit it, wherever it
// begins.
func likelyPorts(o offer, n int, rng *rand.Rand) []uint16 {
	ports := newPortList(o)
	n = min(n, ports.high-ports.low+1)
	if step := abs(int(o.Step)); step != 0 && step <= largestStep && o.Next != 0 {
		size := ports.high - ports.low + 1
		stride := (sprayPorts - overlap) * step
		for _, shift := range []int{stride / 2, 0, stride / 4, stride * 3 / 4} {
			for i := 0; i*stride < size && len(ports.list) < n*3/4; i++ {
				at := int(o.Next) + shift/step*step + i*stride
				if o.Step < 0 {
					at = int(o.Next) - shift/step*step - i*stride
				}
				ports.add(ports.low + ((at-ports.low)%size+size)%size)
			}
		}
	}
	for len(ports.list) < n {
		if n > (ports.high-ports.low+1)/2 { // so few that chance would take long
			for _, i := range rng.Perm(ports.high - ports.low + 1) {
				if len(ports.list) < n {
					ports.add(ports.low + i)
				}
			}
			break
		}
		ports.add(ports.low + rng.IntN(ports.high-ports.low+1))
	}
	return ports.list
}

// matchingPorts are where the sender of o may send from next. One side goes through
// them with a stride of one and the other with two: so the n-th datagram of one side
// meets the m-th of the other for some n and m, however many mappings were made for
// others meanwhile, if there were not too many.
func matchingPorts(o offer, stride int) []uint16 {
	ports := newPortList(o)
	for i := range matchedPorts {
		ports.add(int(o.Next) + (i*stride-matchedSlack)*int(o.Step))
	}
	return ports.list
}

// portList collects ports in a range, none twice.
type portList struct {
	low, high int
	list      []uint16
	has       [1 << 16 / 64]uint64
}

func newPortList(o offer) *portList {
	if o.Low >= lowestPort && o.Low < o.High {
		return &portList{low: int(o.Low), high: int(o.High)}
	}
	return &portList{low: lowestPort, high: 1<<16 - 1}
}

func (p *portList) add(port int) {
	if port < p.low || port > p.high || p.has[port/64]&(1<<(port%64)) != 0 {
		return
	}
	p.has[port/64] |= 1 << (port % 64)
	p.list = append(p.list, uint16(port))
}

func abs(n int) int { return max(n, -n) }
