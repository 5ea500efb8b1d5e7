package control

import (
	"testing"
	"time"

	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestHeapFollowsTraffic(t *testing.T) {
	var h heapPace
	now, carried := start, int64(0)
	look := func(bytes int64, d time.Duration) heapAction {
		now, carried = now.Add(d), carried+bytes
		return h.look(now, map[wgtypes.Key]wgsetup.PeerState{{1}: {RxBytes: carried}})
	}
	for i, step := range []struct {
		bytes int64
		want  heapAction
	}{
		{0, heapIdle}, // the start
		{0, heapStay},
		{0, heapStay},
		{0, heapStay},
		{0, heapStay},
		{0, heapStay},
		{0, heapIdle},         // 10 s later
		{1000, heapStay},      // a ping
		{100 << 20, heapBusy}, // a copy begins
		{100 << 20, heapStay}, // and goes on
		{0, heapStay},         // pauses
		{100 << 20, heapStay}, // goes on
		{0, heapStay},         // ends
		{1000, heapStay},
		{0, heapStay},
		{0, heapStay},
		{0, heapStay},
		{0, heapIdle}, // 10 s later
		{0, heapStay},
	} {
		if got := look(step.bytes, 2*time.Second); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
