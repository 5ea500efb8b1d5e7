package discovery

import (
	"maps"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Output is something a Greeter wants done: a Send, a Met or a Twin. Outputs
// are to be carried out in the order given; a responder's Met stands before the
// ready that lets the other side start, because an initiation that comes before
// WireGuard knows its sender costs five seconds.
type Output interface{ output() }

// Send asks for one datagram to be sent from the port that members know.
type Send struct {
	To   netip.AddrPort
	Data []byte
}

// Met says that a member is there. The initiator of an exchange gets two, on
// the reply and on the ready; the responder gets one, on the confirm.
type Met struct {
	Node   keys.NodePublic
	Record wire.Record
	Signed wire.SignedRecord
	// Age is how old the record was when the member sent it. Two steps later
	// it may be some round trips more.
	Age time.Duration
	// Addr is where the member was reached, or came from.
	Addr netip.AddrPort
	// RTT is the round trip to Addr. The responder's may be too long by the
	// initiator's retransmissions.
	RTT time.Duration
	// Observed is where the member sees this node.
	Observed netip.AddrPort
	// Version is the highest message version that both understand.
	Version uint8
	// Source is who named Addr; SourceHello if nobody had.
	Source Source
	// Initiator says that this side said hello.
	Initiator bool
	// Ready says that the path is proven both ways and that both sides have
	// been told to install each other.
	Ready bool
	// StartHandshake says that this side starts WireGuard's handshake, now. Of
	// two sides that greeted each other at once exactly one is told so. The
	// other starts only after 300 ms + RTT without a session.
	StartHandshake bool
}

// Twin says that another host with this node's key is alive: a cloned image, or
// a state directory used twice.
type Twin struct {
	Addr  netip.AddrPort
	Probe keys.ProbePublic
}

func (Send) output() {}
func (Met) output()  {}
func (Twin) output() {}

// The reasons to drop a datagram that are not in the bytes themselves; those
// are wire's.
const (
	dropNoRecord    = "no-record"      // nothing to answer with yet
	dropSelf        = "self"           // my own hello came back
	dropTransaction = "no-transaction" // answers nothing that I asked, or too late
	dropReplay      = "replay"         // a copy of what came before, byte for byte
	dropDuplicate   = "duplicate"      // has been answered already
	dropRecipient   = "recipient"      // meant for another node
	dropAddress     = "wrong-address"  // answers from where I did not ask
	dropCookie      = "cookie"         // not my cookie, or too old
	dropRateLimit   = "rate-limit"     // more than is answered
	dropRefused     = "refused"        // of a node that is shut out
	dropSeal        = "seal-own"       // a message of mine would not seal: a defect
)

// The reasons to ignore a hint.
const (
	dropInvalid    = "invalid"
	dropNotUnicast = "not-unicast"
	dropLowPort    = "low-port"
	dropNotGlobal  = "not-global"
	dropOverlay    = "overlay" // inside the tunnel, where no hello belongs
	dropKnown      = "known"   // a member met there a short while ago
	dropNegative   = "negative"
	dropFull       = "full"
)

// Stats counts since the start. The maps are keyed by reason.
type Stats struct {
	Sent     uint64            `json:"sent"`
	Accepted uint64            `json:"accepted"`
	Dropped  map[string]uint64 `json:"dropped"`
	// Ignored counts hints that no hello was sent for.
	Ignored map[string]uint64 `json:"ignored"`
}

func (s Stats) clone() Stats {
	s.Dropped, s.Ignored = maps.Clone(s.Dropped), maps.Clone(s.Ignored)
	return s
}
