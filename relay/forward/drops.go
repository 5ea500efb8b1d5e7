package forward

import "sync/atomic"

// drop is a reason for which a datagram was neither forwarded nor handed up.
type drop uint8

const (
	dropNotForwardable drop = iota
	dropNoFlow
	dropBucket
	dropSendError
	dropSendFull
	dropTruncated
	dropOversized
	dropBusy
	dropReceiveError
	drops // how many there are
)

// dropNames are the keys of Forwarder.Drops.
var dropNames = [drops]string{
	dropNotForwardable: "not-forwardable", // neither WireGuard's nor ours
	dropNoFlow:         "no-flow",         // from a source that no flow has; Handle may have seen it
	dropBucket:         "bucket",          // over a rate
	dropSendError:      "send-error",      // the kernel refused the destination
	dropSendFull:       "send-full",       // the socket's or the interface's queue was full
	dropTruncated:      "truncated",       // longer than a buffer
	dropOversized:      "oversized",       // a relay frame longer than any
	dropBusy:           "busy",            // a relay frame while Handle was behind
	dropReceiveError:   "receive-error",   // the kernel reported an error instead of a datagram
}

// counters belong to one worker, who adds; anybody reads.
type counters struct {
	packets, bytes atomic.Uint64
	drops          [drops]atomic.Uint64
}

func (c *counters) drop(why drop, n int) { c.drops[why].Add(uint64(n)) }
