package mainline

import "time"

// A purpose is what a lookup is for.
type purpose uint8

const (
	toMeet     purpose = iota // to announce this host and learn who else did
	toAnnounce                // to announce it, whoever else did
	toLook                    // to learn who did
	toPut                     // to keep a BEP 44 item stored
	toGet                     // to fetch one, once
	toServe                   // to know the nodes around our own id (BEP 5)
)

// announces reports whether nodes are left something: an announce or an item.
func (p purpose) announces() bool { return p == toMeet || p == toAnnounce || p == toPut }

// fastFor is how long it polls fast after a start or a network change.
func (p purpose) fastFor() time.Duration {
	switch p {
	case toMeet:
		return fastFor
	case toLook:
		return lookFor
	}
	return 0
}

func (p purpose) announceEvery() time.Duration {
	if p == toPut {
		return putEvery
	}
	return announceEvery
}

// slot is the pause between polls of one node each, once settled, for each of n
// lookups.
func (p purpose) slot(n int) time.Duration {
	switch p {
	case toAnnounce:
		// Each node's turn comes twice before its announce is due, so that one lost
		// datagram does not let it expire.
		return announceEvery / (2 * closestK)
	case toPut:
		return putEvery / (2 * closestK)
	case toServe:
		return announceEvery / closestK
	}
	return settledEvery * time.Duration(max(n, 1)) // several hashes share the pace of one
}

// limit is how many hashes a purpose may have in one family.
func (p purpose) limit() int {
	if p == toAnnounce {
		return maxAnnounced
	}
	return maxHashes
}
