package control

import (
	"runtime/debug"
	"time"

	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// heapPace keeps the embedded WireGuard's memory in proportion to its work.
// Most of the heap is wireguard-go's 64 kB buffers, of which an idle node ever
// touches a page or two: at Go's default the collector would let as much
// garbage lie about as if they were full. While packets flow, collecting late
// is worth it (about 8 % of throughput); when they have ceased, what they took
// goes back to the system.
type heapPace struct {
	bytes int64     // carried when last looked at
	at    time.Time // of that look
	quiet time.Time // since when little was carried; zero: not
	busy  bool
}

const (
	idleGCPercent = 10
	busyGCPercent = 100
	busyRate      = 1 << 20 // bytes a second
	quietFor      = 10 * time.Second
)

// heapAction is what the heap's settings should become.
type heapAction uint8

const (
	heapStay heapAction = iota
	heapBusy
	heapIdle
)

// look takes the device's counters.
func (h *heapPace) look(now time.Time, states map[wgtypes.Key]wgsetup.PeerState) heapAction {
	var bytes int64
	for _, s := range states {
		bytes += s.RxBytes + s.TxBytes
	}
	rate := float64(bytes-h.bytes) / max(now.Sub(h.at).Seconds(), 0.001)
	first := h.at.IsZero()
	h.bytes, h.at = bytes, now
	switch {
	case first:
		h.busy = true // what the start took goes back a moment later
		return heapIdle
	case rate >= busyRate:
		h.quiet = time.Time{}
		if !h.busy {
			h.busy = true
			return heapBusy
		}
	case h.busy && h.quiet.IsZero():
		h.quiet = now
	case h.busy && now.Sub(h.quiet) >= quietFor:
		h.busy, h.quiet = false, time.Time{}
		return heapIdle
	}
	return heapStay
}

// apply sets the collector. It takes some milliseconds when idling begins.
func (a heapAction) apply() {
	switch a {
	case heapBusy:
		debug.SetGCPercent(busyGCPercent)
	case heapIdle:
		debug.SetGCPercent(idleGCPercent)
		debug.FreeOSMemory()
	}
}
