package pcp

import "time"

// An Epoch follows a gateway's count of seconds since it lost its mappings. The zero value has seen nothing.
type Epoch struct {
	seen   bool
	server uint32
	at     time.Time
}

// Observe takes in a count from PCP and tells whether the gateway kept its mappings since the one before (RFC 6887,
// Section 8.5).
func (e *Epoch) Observe(now time.Time, server uint32) (kept bool) {
	last := *e
	*e = Epoch{seen: true, server: server, at: now}
	if !last.seen {
		return true
	}
	// Datagrams may overtake each other by a second.
	if int64(server)+1 < int64(last.server) {
		return false
	}
	here, there := int64(now.Sub(last.at)/time.Second), int64(server)-int64(last.server)
	return here+2 >= there-there/16 && there+2 >= here-here/16
}

// ObserveNATPMP is Observe for NAT-PMP, whose count may run slow, and where a count that is ahead says nothing (RFC
// 6886, Section 3.6).
func (e *Epoch) ObserveNATPMP(now time.Time, server uint32) (kept bool) {
	last := *e
	*e = Epoch{seen: true, server: server, at: now}
	if !last.seen {
		return true
	}
	expected := int64(last.server) + int64(now.Sub(last.at)/time.Second)*7/8
	return int64(server)+2 >= expected
}
