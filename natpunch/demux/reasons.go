package demux

// Reasons for which a datagram is dropped before, or by, whoever its kind belongs
// to. They are keys of the drop counters in status: short, stable, and without
// anything a sender chose.
const (
	// DropUnknown: the first bytes are nobody's.
	DropUnknown = "unknown-first-bytes"
	// DropMalformed: the first bytes are a protocol's, the rest is not.
	DropMalformed = "malformed"
	// DropOversized: longer than the protocol allows.
	DropOversized = "oversized"
	// DropNobody: nothing here listens for that protocol, as with STUN when it is
	// switched off.
	DropNobody = "nobody-listens"
	// DropUnsolicited: an answer to no question of ours, or from another address
	// than the one asked.
	DropUnsolicited = "unsolicited"
	// DropUnknownPeer: sealed for a pair that we do not know.
	DropUnknownPeer = "unknown-peer"
	// DropReplayed: seen before.
	DropReplayed = "replayed"
	// DropRateLimited: over a budget.
	DropRateLimited = "rate-limited"
)
