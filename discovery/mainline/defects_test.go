package mainline

import (
	"context"
	"crypto/sha1"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/exts/getput"
	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
)

// What package dht v2.23.0 does not survive, each with its bytes. The library is
// shown to fail in a process of its own without the guard, so that an update that
// mends it is noticed, and to live on behind the guard.

const id20 = "aaaaaaaaaaaaaaaaaaaa"

var lethalDatagrams = []struct {
	name    string
	passive bool // whether it kills a read-only node too
	bytes   string
	reason  string // for which the guard drops it
	symptom string // without the guard
}{
	{
		"AnnouncePeerWithoutArguments", false,
		"d1:q13:announce_peer1:t1:a1:y1:qe",
		dropArguments, "nil pointer dereference",
	},
	{
		"PutWithoutArguments", false,
		"d1:q3:put1:t1:a1:y1:qe",
		dropArguments, "nil pointer dereference",
	},
	{
		"OwnAddressTooShort", true,
		"d2:ip1:x1:rd2:id20:" + id20 + "e1:t1:a1:y1:re",
		dropMalformed, "makeslice: len out of range",
	},
	{
		"PeerAddressTooShort", true,
		"d1:rd2:id20:" + id20 + "6:valuesl0:ee1:t1:a1:y1:re",
		dropReply, "makeslice: len out of range",
	},
}

func TestGuardDropsLethalDatagrams(t *testing.T) {
	for _, d := range lethalDatagrams {
		t.Run(d.name, func(t *testing.T) {
			if got := refused([]byte(d.bytes), false); got != d.reason {
				t.Errorf("examine(%q) = %q, want %q", d.bytes, got, d.reason)
			}
			if refused([]byte(d.bytes), true) == "" {
				t.Errorf("a read-only node lets %q through", d.bytes)
			}
			expectDefect(t, d.name, d.symptom)
		})
	}
}

// Whoever stored an item knows its key, and can answer a get with that key and no
// sequence number.
func TestGuardDropsGetReplyWithoutSequenceNumber(t *testing.T) {
	b := getReplyWithoutSeq("a")
	if got := refused(b, true); got != dropReply {
		t.Errorf("examine(%q) = %q, want %q", b, got, dropReply)
	}
	expectDefect(t, "GetReplyWithoutSequenceNumber", "nil pointer dereference")
}

var storedKey = [32]byte{1}

func getReplyWithoutSeq(t string) []byte {
	return fmt.Appendf(nil, "d1:rd2:id20:%s1:k32:%s3:sig64:%s1:v1:xe1:t%d:%s1:y1:re",
		id20, storedKey[:], make([]byte, 64), len(t), t)
}

func TestGuardNeverFailsARead(t *testing.T) {
	for _, name := range []string{"ReadError", "SocketClosedBeforeServer"} {
		t.Run(name, func(t *testing.T) { expectDefect(t, name, "panic: ") })
	}
}

func TestGuardKeepsUnknownQueryNamesOut(t *testing.T) {
	b := queryNamed("x1")
	for _, readOnly := range []bool{true, false} {
		if refused(b, readOnly) == "" {
			t.Errorf("examine(%q, %t) lets it through", b, readOnly)
		}
	}
	expectDefect(t, "QueryNamesAreKept", "keys kept")
}

func queryNamed(q string) []byte {
	return fmt.Appendf(nil, "d1:ad2:id20:%se1:q%d:%s1:t1:a1:y1:qe", id20, len(q), q)
}

func TestGuardKeepsMalformedDatagramsOutOfTheLog(t *testing.T) {
	if got := refused([]byte(malformed), true); got != dropMalformed {
		t.Errorf("examine(%q) = %q, want %q", malformed, got, dropMalformed)
	}
	expectDefect(t, "MalformedIsLogged", "received bad krpc message")
}

const malformed = "d1:t1:a1:yi1e1:z1:ze"

// 20 bytes that make the library allocate 128 MB.
func TestGuardDropsStringsLongerThanTheDatagram(t *testing.T) {
	if got := refused([]byte(allocationBomb), true); got != dropMalformed {
		t.Errorf("examine(%q) = %q, want %q", allocationBomb, got, dropMalformed)
	}
	expectDefect(t, "LongStringIsAllocated", "bytes allocated")
}

const allocationBomb = "d1:t134217727:"

// The library's peer store loses members behind one address, so there is none.
func TestNoPeerStoreOfTheLibrary(t *testing.T) {
	c := serverConfig(newGuard(newMemConn(ownAddr), nil), nodeID{1}, slog.New(slog.DiscardHandler))
	if c.PeerStore != nil || !c.Passive {
		t.Errorf("PeerStore %v, Passive %t: want none and true", c.PeerStore, c.Passive)
	}
	var s peer_store.InMemory
	for port := range 2 {
		s.AddPeer(peer_store.InfoHash{}, krpc.NodeAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 1000 + port})
	}
	if n := len(s.GetPeers(peer_store.InfoHash{})); n == 2 {
		t.Error("the library's peer store was mended: two peers behind one address are kept")
	}
}

// The library's limit is shared by the whole process, and a search takes seconds
// under it.
func TestEachServerHasItsOwnSendLimit(t *testing.T) {
	a, b := newGuard(newMemConn(ownAddr), nil), newGuard(newMemConn(ownAddr), nil)
	one, two := serverConfig(a, nodeID{1}, slog.Default()).SendLimiter, serverConfig(b, nodeID{2}, slog.Default()).SendLimiter
	if one == two || one == dht.DefaultSendLimiter || one.Limit() != sendsPerSecond {
		t.Errorf("limits %v and %v, want %d/s for each", one.Limit(), two.Limit(), sendsPerSecond)
	}
	if got := dht.DefaultSendLimiter.Limit(); got != 25 {
		t.Errorf("the library's limit is now %v/s", got)
	}
}

// expectDefect runs showDefect(name) in processes of their own: without the guard it
// must show the symptom, and behind the guard it must not.
func expectDefect(t *testing.T, name, symptom string) {
	t.Helper()
	for _, guarded := range []bool{false, true} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MAINLINE_TEST_DEFECT="+name, fmt.Sprintf("MAINLINE_TEST_GUARDED=%t", guarded))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		shown := strings.Contains(string(out), symptom)
		switch {
		case guarded && (shown || err != nil):
			t.Errorf("behind the guard the library still fails (%v):\n%s", err, out)
		case !guarded && !shown:
			t.Errorf("the library was mended: without the guard it says no %q (%v):\n%s", symptom, err, out)
		}
	}
}

// showDefect provokes one defect and returns if the process lives on.
func showDefect(name string) {
	guarded := os.Getenv("MAINLINE_TEST_GUARDED") == "true"
	// Without the guard it dies of it at last; behind it there is nothing to see, however long one looks.
	atMost := patience
	if guarded {
		atMost = 200 * time.Millisecond
	}
	switch name {
	case "GetReplyWithoutSequenceNumber":
		s, _ := defectServer(guarded, true, func(q krpc.Msg) []byte {
			if q.Q == "get" {
				return getReplyWithoutSeq(q.T)
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(context.Background(), atMost)
		defer cancel()
		_, _, _ = getput.Get(ctx, sha1.Sum(storedKey[:]), s, nil, nil)
	case "ReadError":
		s, conn := defectServer(guarded, true, nil)
		conn.queue <- memPacket{err: errors.New("connection refused")}
		prove(s)
	case "SocketClosedBeforeServer":
		_, conn := defectServer(guarded, true, nil)
		_ = conn.Close()
		time.Sleep(atMost)
	case "QueryNamesAreKept":
		s, conn := defectServer(guarded, true, nil)
		before := expvarKeys()
		for i := range 100 {
			conn.deliver(queryNamed(fmt.Sprintf("x%d", i)), nodeAddr)
		}
		prove(s)
		// The library counts in goroutines.
		for end := time.Now().Add(atMost); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if n := expvarKeys() - before; n >= 100 {
				fmt.Println(n, "keys kept")
				break
			}
		}
	case "MalformedIsLogged":
		s, conn := defectServer(guarded, true, nil)
		conn.deliver([]byte(malformed), nodeAddr)
		prove(s)
	case "LongStringIsAllocated":
		s, conn := defectServer(guarded, true, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conn.deliver([]byte(allocationBomb), nodeAddr)
		prove(s)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 100<<20 {
			fmt.Println(n, "bytes allocated")
		}
	default:
		for _, d := range lethalDatagrams {
			if d.name == name {
				s, conn := defectServer(guarded, d.passive, nil)
				conn.deliver([]byte(d.bytes), nodeAddr)
				prove(s)
			}
		}
	}
}

// defectServer starts a server of the library with a node that answers what answer
// does not, and pings.
func defectServer(guarded, passive bool, answer func(krpc.Msg) []byte) (*dht.Server, *memConn) {
	conn := newMemConn(ownAddr)
	conn.out = func(b []byte, to netip.AddrPort) error {
		q := parseQuery(b)
		if q.Y != "q" {
			return nil
		}
		if answer != nil {
			if r := answer(q); r != nil {
				conn.deliver(r, to)
				return nil
			}
		}
		conn.deliver(reply(q.T, krpc.Return{ID: krpc.IdFromString(id20)}), to)
		return nil
	}
	c := &dht.ServerConfig{
		Conn:          conn,
		Passive:       passive,
		NoSecurity:    true,
		Logger:        libraryLogger(slog.New(slog.DiscardHandler)),
		StartingNodes: func() ([]dht.Addr, error) { return []dht.Addr{dht.NewAddr(net.UDPAddrFromAddrPort(nodeAddr))}, nil },
	}
	if guarded {
		var serving *responder
		if !passive {
			serving = newResponder(nodeID{1})
		}
		c.Conn = newGuard(conn, serving)
	}
	s, err := dht.NewServer(c)
	if err != nil {
		panic(err)
	}
	return s, conn
}

// prove asks the node, which the server can do only if it still reads.
func prove(s *dht.Server) {
	if res := s.Ping(net.UDPAddrFromAddrPort(nodeAddr)); res.Err != nil {
		fmt.Println("the server does not read any more:", res.Err)
		os.Exit(1)
	}
}

func expvarKeys() int {
	n := 0
	expvar.Get("dht").(*expvar.Map).Do(func(expvar.KeyValue) { n++ })
	return n
}
