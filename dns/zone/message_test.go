package zone

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// crowd is a network with a node that has more addresses than a datagram of 512 bytes can carry.
func crowd() *Table {
	z := home()
	var all []netip.Addr
	for i := range MaxAddresses {
		all = append(all, netip.MustParseAddr(fmt.Sprintf("fd12:3456:789a::1:%x", i)))
	}
	z.Nodes = append(z.Nodes, Node{Name: "crowd", Names: []string{"many"}, Addrs: all})
	return New(z)
}

func TestTruncation(t *testing.T) {
	for _, c := range []struct {
		what      string
		size      uint16 // 0: no EDNS
		udp       bool
		truncated bool
	}{
		{"no EDNS", 0, true, true},
		{"EDNS with too little", 700, true, true},
		{"EDNS with less than anyone may have", 1, true, true},
		{"EDNS with enough", 1232, true, false},
		{"EDNS with more than we send", 65535, true, false},
		{"TCP", 0, false, false},
		{"TCP with EDNS, whose size is for UDP", 512, false, false},
	} {
		q := question("many.home.internal", dns.TypeAAAA)
		if c.size != 0 {
			q.SetEdns0(c.size, false)
		}
		answer := ask(t, crowd(), q, c.udp)
		want := 1 + MaxAddresses // the alias, too
		if c.truncated {
			want = 0
		}
		if answer.Truncated != c.truncated || len(answer.Answer) != want || answer.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: truncated %v, %d records, %s", c.what, answer.Truncated, len(answer.Answer), dns.RcodeToString[answer.Rcode])
		}
	}
}

func TestEDNS(t *testing.T) {
	table := New(home())
	q := question("nas.home.internal", dns.TypeA)
	q.SetEdns0(4096, true)
	q.RecursionDesired, q.CheckingDisabled = true, true
	answer := ask(t, table, q, true)
	opt := answer.IsEdns0()
	if opt == nil || opt.UDPSize() != maxUDP || !opt.Do() || opt.Version() != 0 || len(opt.Option) != 0 || len(answer.Extra) != 1 {
		t.Fatalf("additional %v", answer.Extra)
	}
	if !answer.RecursionDesired || !answer.CheckingDisabled || answer.Rcode != dns.RcodeSuccess {
		t.Errorf("header %+v", answer.MsgHdr)
	}

	opt = q.IsEdns0()
	opt.SetVersion(1)
	answer = ask(t, table, q, true)
	if answer.Rcode != dns.RcodeBadVers || answer.IsEdns0().Version() != 0 || len(answer.Answer) != 0 {
		t.Errorf("version 1: %v", answer)
	}

	opt.SetVersion(0)
	q.Question[0].Name = "example.com."
	answer = ask(t, table, q, true)
	if o := answer.IsEdns0().Option; answer.Rcode != dns.RcodeRefused || len(o) != 1 || o[0].Option() != dns.EDNS0EDE {
		t.Errorf("refused: %v", answer)
	}

	q.Extra = append(q.Extra, opt)
	if answer = ask(t, table, q, true); answer.Rcode != dns.RcodeFormatError {
		t.Errorf("two OPT records: %s", dns.RcodeToString[answer.Rcode])
	}
	q.Extra = q.Extra[:1]
	opt.Hdr.Name = "x."
	if answer = ask(t, table, q, true); answer.Rcode != dns.RcodeFormatError {
		t.Errorf("an OPT record with a name: %s", dns.RcodeToString[answer.Rcode])
	}
}

func TestBadMessages(t *testing.T) {
	table := New(home())
	q := question("nas.home.internal", dns.TypeA)
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(q *dns.Msg)) []byte {
		q := q.Copy()
		change(q)
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	for _, c := range []struct {
		what  string
		query []byte
		want  int // -1: silence
	}{
		{"nothing", nil, -1},
		{"half a header", packed[:11], -1},
		{"a response", edit(func(q *dns.Msg) { q.Response = true }), -1},
		{"a response that is cut", edit(func(q *dns.Msg) { q.Response = true })[:14], -1},
		{"more than anyone asks", append(bytes.Clone(packed), make([]byte, MaxQuery)...), -1},
		{"cut in the question", packed[:20], dns.RcodeFormatError},
		{"a name that points at itself", append(bytes.Clone(packed[:12]), 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		{"no question", edit(func(q *dns.Msg) { q.Question = nil }), dns.RcodeFormatError},
		{"two questions", edit(func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) }), dns.RcodeFormatError},
		{"NOTIFY", edit(func(q *dns.Msg) { q.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"UPDATE", edit(func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"class CHAOS", edit(func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"bytes after the message", append(bytes.Clone(packed), 1, 2, 3), dns.RcodeSuccess},
	} {
		reply := table.Reply(c.query, true)
		got := -1
		if reply != nil {
			answer := new(dns.Msg)
			if err := answer.Unpack(reply); err != nil || answer.Id != q.Id || !answer.Response {
				t.Errorf("%s: %v, %v", c.what, answer, err)
			}
			got = answer.Rcode
		}
		if got != c.want {
			t.Errorf("%s: code %d, want %d", c.what, got, c.want)
		}
	}
}

// Whatever comes, there is no panic; responses get no answer; an answer is a response to that query, well formed,
// within the size that the transport allows, and not authoritative for what is not ours.
func FuzzReply(f *testing.F) {
	for _, name := range []string{"nas.home.internal", "many.home.internal", "2.1.7.10.in-addr.arpa", "1.7.10.in-addr.arpa", "example.com"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeANY} {
			q := question(name, qtype)
			q.Id = 1
			if qtype == dns.TypeAAAA {
				q.SetEdns0(1232, true)
			}
			packed, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed, qtype == dns.TypePTR)
		}
	}
	table := crowd()
	f.Fuzz(func(t *testing.T, query []byte, udp bool) {
		reply := table.Reply(query, udp)
		if reply == nil {
			return
		}
		if len(query) < headerSize || query[2]&0x80 != 0 {
			t.Fatal("an answer to what is no query")
		}
		if reply[0] != query[0] || reply[1] != query[1] || reply[2]&0x80 == 0 || len(reply) > 65535 || udp && len(reply) > maxUDP {
			t.Fatalf("reply of %d bytes: %x", len(reply), reply)
		}
		answer := new(dns.Msg)
		if err := answer.Unpack(reply); err != nil {
			t.Fatalf("reply cannot be read: %v", err)
		}
		if udp && len(reply) > minUDP && answer.IsEdns0() == nil {
			t.Fatalf("%d bytes to one who takes %d", len(reply), minUDP)
		}
		if !answer.Authoritative && len(answer.Answer)+len(answer.Ns) > 0 {
			t.Fatalf("records of others: %v", answer)
		}
	})
}
