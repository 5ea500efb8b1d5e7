package control

import (
	"time"

	"github.com/credant/credant/wgsetup"
)

// Initiations that cross can leave two sides with different keys: both have
// completed a handshake, and one cannot read the other. WireGuard would find out
// after 15 s. Both sides send a packet as soon as they see a session, so one that
// hears nothing but handshakes begins anew.

const (
	// deafAfter, and two round trips, is what the other side's first packet may
	// take.
	deafAfter = 500 * time.Millisecond
	// deafAgain bounds what this costs with a peer that says nothing.
	deafAgain = 30 * time.Second

	initiationSize, responseSize = 148, 92 // of WireGuard's handshake, in bytes
	maxHandshakes                = 8       // of either kind, that are counted with
)

// deafness watches a session that has just begun.
type deafness struct {
	since time.Time // zero: something was heard
	rx    int64
	acted time.Time
}

// begin takes how much was received since the session's start.
func (d *deafness) begin(now time.Time, received int64, s wgsetup.PeerState) {
	d.since = time.Time{}
	if onlyHandshakes(received) && now.Sub(d.acted) >= deafAgain {
		d.since, d.rx = now, s.RxBytes
	}
}

// looked tells whether the session should be begun anew.
func (d *deafness) looked(now time.Time, s wgsetup.PeerState, rtt time.Duration) bool {
	switch {
	case d.since.IsZero():
		return false
	case s.RxBytes != d.rx:
		d.since = time.Time{}
		return false
	case now.Sub(d.since) < deafAfter+2*rtt:
		return false
	}
	d.since, d.acted = time.Time{}, now
	return true
}

func (d *deafness) waits() bool { return !d.since.IsZero() }

// onlyHandshakes tells whether so many bytes can be handshakes without any data.
func onlyHandshakes(bytes int64) bool {
	for i := range int64(maxHandshakes + 1) {
		if rest := bytes - i*initiationSize; rest >= 0 && rest%responseSize == 0 && rest/responseSize <= maxHandshakes {
			return true
		}
	}
	return false
}
