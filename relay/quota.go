package relay

// Share bounds what one network, or one source prefix, may have. A field that
// is zero means the default of its class.
type Share struct {
	// Registrations is how many nodes may be registered at once. A network has
	// at most MaxRegistered whatever stands here.
	Registrations int
	// Allocations is how many pairs of nodes may have a port at once.
	Allocations int
	// Requests is how many requests are served a second; ten seconds' worth may
	// come at once.
	Requests int
	// Bytes is how many bytes a second are forwarded.
	Bytes uint64
}

// Quota is what a class of networks may have. Zero fields mean the default.
type Quota struct {
	// Network bounds each network by itself.
	Network Share
	// Source bounds all networks of the class together that come from one source
	// prefix: an IPv4 /24 or an IPv6 /48. Networks are free to make; prefixes
	// are not.
	Source Share
	// PairBytes is how many bytes a second one pair may send, both ways together.
	PairBytes uint64
}

// MaxRegistered is how many nodes of one network can be registered: each is
// told of all the others.
const MaxRegistered = 64

// DefaultStranger is the quota of networks that nobody has named: enough for a
// family or an office, 10 Mbit/s a pair.
var DefaultStranger = Quota{
	Network:   Share{Registrations: MaxRegistered, Allocations: 512, Requests: 100, Bytes: 5e6},
	Source:    Share{Registrations: 2 * MaxRegistered, Allocations: 1024, Requests: 100, Bytes: 5e6},
	PairBytes: 1.25e6,
}

// DefaultMember is the quota of allowed networks: what the machine can do.
var DefaultMember = Quota{
	Network:   Share{Registrations: MaxRegistered, Allocations: 8192, Requests: 1000, Bytes: 1.25e9},
	Source:    Share{Registrations: 4 * MaxRegistered, Allocations: 8192, Requests: 1000, Bytes: 1.25e9},
	PairBytes: 1.25e8,
}

// or fills what q leaves open.
func (q Quota) or(d Quota) Quota {
	q.Network, q.Source = q.Network.or(d.Network), q.Source.or(d.Source)
	if q.PairBytes == 0 {
		q.PairBytes = d.PairBytes
	}
	q.Network.Registrations = min(q.Network.Registrations, MaxRegistered)
	return q
}

func (s Share) or(d Share) Share {
	if s.Registrations == 0 {
		s.Registrations = d.Registrations
	}
	if s.Allocations == 0 {
		s.Allocations = d.Allocations
	}
	if s.Requests == 0 {
		s.Requests = d.Requests
	}
	if s.Bytes == 0 {
		s.Bytes = d.Bytes
	}
	return s
}
