package relay

import "github.com/credant/credant/relay/wire"

// The reasons that Receive gives for what it did not serve, besides those of
// wire.DropReason. They are labels of counters: short, stable, and without
// anything that a sender chose.
const (
	dropSource      = "source"       // an address that nothing can come from, or one of our own
	dropRate        = "rate-limit"   // asks, resets or one node's requests: not answered
	dropWork        = "work-limit"   // too much curve work from that prefix, or overall
	dropCookie      = "cookie"       // not ours, not for this source and port, or too old
	dropReplay      = "replay"       // its number was used before
	dropIdentity    = "identity"     // another node's or network's name in a session
	dropPort        = "port"         // nothing is open there, or the operation has another port
	dropSourcesFull = "sources-full" // no room for another source prefix
	dropLeaving     = "leaving"      // an ask to a relay that is about to stop
)

// refused are the reasons of requests that were answered with an error.
var refused = map[wire.Code]string{
	wire.CodeCookie:      "refused-cookie",
	wire.CodeQuota:       "refused-quota",
	wire.CodeFull:        "refused-full",
	wire.CodeForbidden:   "refused-forbidden",
	wire.CodeUnknown:     "refused-unknown",
	wire.CodeUnsupported: "refused-unsupported",
	wire.CodeLeaving:     "refused-leaving",
}
