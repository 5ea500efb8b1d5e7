package mainline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
)

// A servingNode is a Source that serves, with one node that it knows.
type servingNode struct {
	t    *testing.T
	s    *Source
	conn *memConn

	mu     sync.Mutex
	sent   []krpc.Msg             // answers, to anybody
	answer func(krpc.Msg) []byte  // of the node that it knows
	asked  map[string]int         // that node, by method
	waits  map[string]chan []byte // for the answer to a transaction
}

func startServing(t *testing.T, log *slog.Logger) *servingNode {
	n := &servingNode{t: t, conn: newMemConn(ownAddr), asked: make(map[string]int), waits: make(map[string]chan []byte)}
	n.conn.out = n.out
	n.s = New(Config{
		IPv4:       n.conn,
		Bootstrap:  []string{nodeAddr.String()},
		InfoHashes: func(time.Time) [][20]byte { return [][20]byte{{7}} },
		Found:      func(netip.AddrPort) {},
		Serve:      true,
		Log:        log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n
}

func (n *servingNode) out(b []byte, to netip.AddrPort) error {
	m := parseQuery(b)
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.Y != "q" {
		n.sent = append(n.sent, m)
		if c := n.waits[m.T]; c != nil {
			c <- b
		}
		return nil
	}
	if m.ReadOnly {
		n.t.Errorf("a serving node asks as a read-only one: %q", b)
	}
	n.asked[m.Q]++
	var r []byte
	if n.answer != nil {
		r = n.answer(m)
	}
	if r == nil {
		token := "t"
		r = reply(m.T, krpc.Return{ID: krpc.IdFromString(id20), Token: &token})
	}
	n.conn.deliver(r, to)
	return nil
}

// lives asks it, and lets it ask.
func (n *servingNode) lives() {
	n.t.Helper()
	transaction := fmt.Sprint("p", time.Now().UnixNano())
	c := make(chan []byte, 1)
	n.mu.Lock()
	n.waits[transaction] = c
	n.mu.Unlock()
	from := netip.MustParseAddrPort("192.0.2.200:4000")
	n.conn.deliver(bencode.MustMarshal(krpc.Msg{Q: "ping", Y: "q", T: transaction, A: &krpc.MsgArgs{ID: krpc.ID{3}}}), from)
	select {
	case <-c:
	case <-time.After(patience):
		n.t.Fatal("it answers no ping")
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	if _, err := n.s.GetItem(ctx, [32]byte{5}, ""); !errors.Is(err, ErrNoItem) {
		n.t.Fatalf("GetItem: %v, want the word of the node that it knows", err)
	}
}

// Each defect of the library, against a node that serves: it answers and asks on.
func TestServingSurvives(t *testing.T) {
	for _, d := range lethalDatagrams {
		t.Run(d.name, func(t *testing.T) {
			n := startServing(t, slog.New(slog.DiscardHandler))
			n.lives()
			n.conn.deliver([]byte(d.bytes), ownAddr)
			n.conn.deliver([]byte(d.bytes), nodeAddr) // whom it asked
			n.lives()
			if n.s.Drops()[d.reason] == 0 {
				t.Errorf("drops %v, want %s", n.s.Drops(), d.reason)
			}
		})
	}
	t.Run("GetReplyWithoutSequenceNumber", func(t *testing.T) {
		n := startServing(t, slog.New(slog.DiscardHandler))
		n.lives()
		n.mu.Lock()
		n.answer = func(q krpc.Msg) []byte {
			if q.Q == "get" {
				return getReplyWithoutSeq(q.T)
			}
			return nil
		}
		n.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if v, err := n.s.GetItem(ctx, storedKey, ""); err == nil {
			t.Errorf("GetItem = %q", v)
		}
		n.mu.Lock()
		n.answer = nil
		n.mu.Unlock()
		n.lives()
	})
	t.Run("ReadError", func(t *testing.T) {
		n := startServing(t, slog.New(slog.DiscardHandler))
		for range 3 {
			n.conn.queue <- memPacket{err: errors.New("connection refused")}
		}
		n.lives()
	})
	t.Run("SocketClosedBeforeServer", func(t *testing.T) {
		n := startServing(t, slog.New(slog.DiscardHandler))
		n.lives()
		_ = n.conn.Close()
		time.Sleep(20 * time.Millisecond) // there is nothing to see if all is well
	})
	t.Run("QueryNamesAreKept", func(t *testing.T) {
		n := startServing(t, slog.New(slog.DiscardHandler))
		n.lives()
		before := expvarKeys()
		for i := range 1000 {
			n.conn.deliver(queryNamed(fmt.Sprintf("x%d", i)), nodeAddr)
		}
		n.lives()
		time.Sleep(20 * time.Millisecond) // the library counts in goroutines
		if kept := expvarKeys() - before; kept > 10 {
			t.Errorf("%d keys kept", kept)
		}
	})
	t.Run("MalformedIsLogged", func(t *testing.T) {
		var log lockedBuilder
		n := startServing(t, slog.New(slog.NewTextHandler(&log, nil)))
		for _, b := range []string{malformed, "d1:q4:ping1:t1:a1:y1:q", "d2:ip2:xx1:t0:1:y0:e"} {
			n.conn.deliver([]byte(b), nodeAddr)
		}
		n.lives()
		if s := log.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
	})
	t.Run("LongStringIsAllocated", func(t *testing.T) {
		n := startServing(t, slog.New(slog.DiscardHandler))
		n.lives()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n.conn.deliver([]byte(allocationBomb), nodeAddr)
		n.lives()
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 10<<20 {
			t.Errorf("%d bytes allocated", grown)
		}
	})
}

// A node that serves takes part in full: whoever asks is asked in turn, and then
// named to others.
func TestServingNodeLearnsWhoAsks(t *testing.T) {
	n := startServing(t, slog.New(slog.DiscardHandler))
	n.lives() // for 192.0.2.200, which answers everything as id20
	done := func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		got := n.s.Serving()
		return got.Nodes > 0 && got.Answers > 0 && n.asked["find_node"] > 0 && n.asked["ping"] > 0
	}
	for start := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("%+v, asked %v: want a node, a ping to who asked, and find_node for the own id", n.s.Serving(), n.asked)
		}
	}
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
