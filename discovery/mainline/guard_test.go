package mainline

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
	"github.com/google/go-cmp/cmp"
)

// What libtorrent 2.0.8 and common clients send, and what they must not.
func TestExamine(t *testing.T) {
	const (
		n26 = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
		id  = "2:id20:" + id20
		end = "1:t2:aa1:v4:LT201:y1:re"
	)
	for _, c := range []struct {
		name, bytes string
		passive     string // reason of a read-only node
		active      string // reason of one that answers
	}{
		{"reply to get_peers", "d2:ip6:abcdef1:rd" + id + "5:nodes26:" + n26 + "1:pi6881e5:token4:abcd6:valuesl6:abcdefee" + end, "", ""},
		{"reply over IPv6", "d2:ip18:abcdefabcdefabcdef1:rd" + id + "6:nodes638:" + n26 + "aaaaaaaaaaaae" + end, "", ""},
		{"reply to ping", "d1:rd" + id + "e1:t1:a1:y1:re", "", ""},
		{"error", "d1:eli203e9:Bad Tokene1:t1:a1:y1:ee", "", ""},
		{"error with an empty text", "d1:eli203e0:e1:t1:a1:y1:ee", "", ""},
		{"error as a text", "d1:e3:bad1:t1:a1:y1:ee", "", ""},
		{"unknown keys", "d1:rd" + id + "1:zd1:ai1e1:bleee" + end, "", ""},
		{"BEP 44 item", "d1:rd" + id + "1:k32:" + id20 + "aaaaaaaaaaaa3:seqi1e3:sig64:" + id20 + id20 + id20 + "aaaa1:v3:xyze" + end, "", ""},
		{"ping", "d1:ad" + id + "e1:q4:ping1:t1:a1:y1:qe", dropReadOnly, ""},
		{"get_peers", "d1:ad" + id + "9:info_hash20:" + id20 + "e1:q9:get_peers2:roi1e1:t1:a1:y1:qe", dropReadOnly, ""},
		{"put of a value alone", "d1:ad" + id + "5:token1:x1:v1:ve1:q3:put1:t1:a1:y1:qe", dropReadOnly, ""},

		{"nothing", "", dropMalformed, dropMalformed},
		{"list", "le", dropMalformed, dropMalformed},
		{"empty dictionary", "de", dropMalformed, dropMalformed},
		{"trailing bytes", "d1:rd" + id + "e1:t1:a1:y1:re\x00", dropMalformed, dropMalformed},
		{"cut", "d1:rd" + id + "e1:t1:a1:y1:r", dropMalformed, dropMalformed},
		{"key twice", "d1:rd" + id + "e1:rd" + id + "e1:t1:a1:y1:re", dropMalformed, dropMalformed},
		{"keys out of order", "d1:y1:r1:rd" + id + "e1:t1:ae", dropMalformed, dropMalformed},
		{"leading zero", "d1:rd" + id + "e1:t01:a1:y1:re", dropMalformed, dropMalformed},
		{"negative zero", "d1:rd" + id + "1:zi-0ee1:t1:a1:y1:re", dropMalformed, dropMalformed},
		{"integer past 64 bits", "d1:rd" + id + "1:zi9223372036854775808ee1:t1:a1:y1:re", dropMalformed, dropMalformed},
		{"nested too deep", "d1:rd" + id + "1:z" + strings.Repeat("l", 20) + strings.Repeat("e", 20) + "e1:t1:a1:y1:re", dropMalformed, dropMalformed},
		{"transaction of no string", "d1:rd" + id + "e1:ti1e1:y1:re", dropMalformed, dropMalformed},
		{"unknown type", "d1:rd" + id + "e1:t1:a1:y1:xe", dropMalformed, dropMalformed},
		{"read-only flag of the wrong type", "d1:rd" + id + "e2:ro1:11:t1:a1:y1:re", dropMalformed, dropMalformed},

		{"reply without a body", "d1:t1:a1:y1:re", dropReply, dropReply},
		{"reply without id", "d1:rde1:t1:a1:y1:re", dropReply, dropReply},
		{"id too short", "d1:rd2:id19:aaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re", dropReply, dropReply},
		{"id as a list", "d1:rd2:idl20:" + id20 + "ee1:t1:a1:y1:re", dropReply, dropReply},
		{"nodes of odd length", "d1:rd" + id + "5:nodes25:aaaaaaaaaaaaaaaaaaaaaaaaae" + end, dropReply, dropReply},
		{"token of the wrong type", "d1:rd" + id + "5:tokeni1ee1:t1:a1:y1:re", dropReply, dropReply},
		{"values of the wrong type", "d1:rd" + id + "6:values6:abcdefe1:t1:a1:y1:re", dropReply, dropReply},
		{"key without signature", "d1:rd" + id + "1:k32:" + id20 + "aaaaaaaaaaaa3:seqi1e1:v3:xyze" + end, dropReply, dropReply},
		{"error without a body", "d1:t1:a1:y1:ee", dropReply, dropReply},
		{"error without a text", "d1:eli203ee1:t1:a1:y1:ee", dropMalformed, dropMalformed},

		{"query without a name", "d1:ad" + id + "e1:t1:a1:y1:qe", dropReadOnly, dropMethod},
		{"unknown query", "d1:ad" + id + "e1:q4:pong1:t1:a1:y1:qe", dropReadOnly, dropMethod},
		{"query without arguments", "d1:q4:ping1:t1:a1:y1:qe", dropReadOnly, dropArguments},
		{"announce without a token", "d1:ad" + id + "9:info_hash20:" + id20 + "e1:q13:announce_peer1:t1:a1:y1:qe", dropReadOnly, dropArguments},
		{"put of an item without signature", "d1:ad" + id + "1:k32:" + id20 + "aaaaaaaaaaaa5:token1:x1:v1:ve1:q3:put1:t1:a1:y1:qe", dropReadOnly, dropArguments},
		{"too long", "d1:rd" + id + "e1:t1:a1:y1:r1:z2048:" + strings.Repeat("z", 2048) + "e", dropOversized, dropOversized},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := refused([]byte(c.bytes), true); got != c.passive {
				t.Errorf("read-only: examine(%q) = %q, want %q", c.bytes, got, c.passive)
			}
			if got := refused([]byte(c.bytes), false); got != c.active {
				t.Errorf("answering: examine(%q) = %q, want %q", c.bytes, got, c.active)
			}
		})
	}
}

// refused returns the reason for which the datagram is dropped.
func refused(b []byte, readOnly bool) string {
	_, reason := examine(b, readOnly)
	return reason
}

// A read fails once the guard is closed, and only then, and Close waits for it.
func TestGuardRead(t *testing.T) {
	conn := newMemConn(ownAddr)
	g := newGuard(conn, nil)
	good := []byte("d1:rd2:id20:" + id20 + "e1:t1:a1:y1:re")
	for range 3 {
		conn.queue <- memPacket{err: errors.New("connection refused")}
	}
	conn.queue <- memPacket{err: os.ErrDeadlineExceeded}
	conn.deliver([]byte("no bencode"), nodeAddr)
	conn.deliver(good, ownAddr) // a stranger
	conn.deliver(good, nodeAddr)
	if _, err := g.WriteTo([]byte("a query"), net.UDPAddrFromAddrPort(nodeAddr)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0x10000)
	n, from, err := g.ReadFrom(buf)
	if err != nil || !bytes.Equal(buf[:n], good) || from.String() != nodeAddr.String() {
		t.Fatalf("ReadFrom() = %q, %v, %v; want the reply", buf[:n], from, err)
	}
	drops := make(map[string]uint64)
	g.drops.addTo(drops)
	if diff := cmp.Diff(map[string]uint64{dropMalformed: 1, dropUnsolicited: 1}, drops); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}

	_ = conn.Close() // somebody else does: the library is not told
	read := make(chan error, 1)
	go func() {
		_, _, err := g.ReadFrom(buf)
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("ReadFrom() = %v although the guard is open", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := g.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	select {
	case err := <-read:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadFrom() = %v, want net.ErrClosed", err)
		}
	case <-time.After(patience):
		t.Error("Close did not end the read")
	}
	if _, err := g.WriteTo(good, from); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo() = %v after Close, want net.ErrClosed", err)
	}
}

// Whatever the guard passes, the library decodes in full and survives: as the reply
// to a question it asked, and as a query to a server that answers.
func FuzzGuard(f *testing.F) {
	for _, d := range lethalDatagrams {
		f.Add([]byte(d.bytes))
	}
	f.Add(getReplyWithoutSeq("a"))
	f.Add(queryNamed("x1"))
	f.Add([]byte(allocationBomb))
	f.Add(reply("a", krpc.Return{ID: krpc.IdFromString(id20), Nodes: make([]krpc.NodeInfo, 0)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if refused(b, true) == "" && refused(b, false) != "" {
			t.Fatalf("%q passes to a read-only node alone", b)
		}
		if refused(b, false) != "" {
			return
		}
		var m krpc.Msg
		if err := bencode.Unmarshal(b, &m); err != nil {
			t.Fatalf("the library does not decode %q: %v", b, err)
		}
		if m.Y == "q" {
			s, conn := defectServer(true, false, nil)
			defer s.Close()
			conn.deliver(b, nodeAddr)
			if res := s.Ping(net.UDPAddrFromAddrPort(nodeAddr)); res.Err != nil {
				t.Fatalf("the server stopped reading after %q: %v", b, res.Err)
			}
			return
		}
		if m.R != nil && m.R.K != ([32]byte{}) && m.R.Seq == nil {
			t.Fatalf("%q has a key and no sequence number", b)
		}
		s := &server{}
		lib, _ := defectServer(true, true, func(q krpc.Msg) []byte {
			if q.Q != "get_peers" {
				return nil
			}
			return withTransaction(b, q.T)
		})
		defer lib.Close()
		s.dht = lib
		a, _, err := s.getPeers(t.Context(), query{hash: infoHash{1}, to: nodeAddr}, false)
		if (err == nil) != (m.Y == "r") {
			t.Fatalf("the answer to %q: %v", b, err)
		}
		l := newLookup(time.Now(), infoHash{1}, settledEvery)
		l.Search(time.Now(), []node{{addr: nodeAddr}})
		l.Answer(time.Now(), query{hash: l.hash, to: nodeAddr}, a)
		l.Advance(time.Now())
	})
}

// withTransaction returns the message b with another transaction.
func withTransaction(b []byte, transaction string) []byte {
	out := []byte("d")
	eachEntry(b, func(key, value []byte) bool {
		out = fmt.Appendf(out, "%d:%s", len(key), key)
		if string(key) == "t" {
			out = fmt.Appendf(out, "%d:%s", len(transaction), transaction)
		} else {
			out = append(out, value...)
		}
		return true
	})
	return append(out, 'e')
}

// What the parser takes, it takes whole and as the library's own decoder does.
func FuzzSkipValue(f *testing.F) {
	f.Add([]byte("d1:ai1e1:bl1:xee"))
	f.Add([]byte("i-9223372036854775808e"))
	f.Add([]byte("0:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := skipValue(b, maxDepth)
		if n == 0 {
			return
		}
		var v any
		if err := bencode.Unmarshal(b[:n], &v); err != nil {
			t.Fatalf("the library refuses %q: %v", b[:n], err)
		}
		again, err := bencode.Marshal(v)
		if err != nil || !bytes.Equal(again, b[:n]) {
			t.Fatalf("%q is %q when encoded again (%v)", b[:n], again, err)
		}
	})
}

// BenchmarkExamine measures what a flood costs.
func BenchmarkExamine(b *testing.B) {
	datagram := []byte("d1:rd2:id20:" + id20 + "5:nodes208:" + strings.Repeat("a", 208) + "5:token4:abcd6:valuesl" +
		strings.Repeat("6:abcdef", 20) + "ee1:t2:aa1:v4:LT201:y1:re")
	b.ReportAllocs()
	for b.Loop() {
		_ = refused(datagram, true)
	}
}
