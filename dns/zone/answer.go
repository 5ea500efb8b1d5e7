package zone

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// How long an answer may be kept, in seconds. The server is on the host that asks, so asking again is cheap, while
// an address that a conflict gave to another node must not be used for long. A name that was asked for in vain is
// one that somebody is waiting for: the machine is about to join.
const (
	ttl         = 30
	ttlNegative = 5
)

// Answer answers a query, as it is to be sent over UDP or over TCP; nil: nothing may be said.
func (t *Table) Answer(query *dns.Msg, udp bool) *dns.Msg {
	if query.Response {
		return nil
	}
	answer := &dns.Msg{Compress: true}
	answer.Id, answer.Opcode, answer.Response = query.Id, query.Opcode, true
	answer.RecursionDesired = query.RecursionDesired
	answer.CheckingDisabled = query.CheckingDisabled
	answer.Question = query.Question[:min(len(query.Question), 1)]
	switch opt, ok := options(query); {
	case !ok || query.Opcode == dns.OpcodeQuery && len(query.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	default:
		if opt != nil {
			addOptions(answer, opt)
		}
		switch {
		case query.Opcode != dns.OpcodeQuery:
			answer.Rcode = dns.RcodeNotImplemented
		case opt != nil && opt.Version() != 0:
			answer.Rcode = dns.RcodeBadVers
		default:
			t.ask(query.Question[0], answer)
		}
		truncate(answer, opt, udp)
	}
	return answer
}

// ask looks the question up and fills in the answer.
func (t *Table) ask(q dns.Question, answer *dns.Msg) {
	switch q.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		answer.Rcode = dns.RcodeRefused
		return
	case dns.TypeNone, dns.TypeOPT:
		answer.Rcode = dns.RcodeFormatError
		return
	case dns.TypeTKEY, dns.TypeTSIG, dns.TypeMAILA, dns.TypeMAILB:
		answer.Rcode = dns.RcodeNotImplemented
		return
	}
	found := t.find(q.Name)
	if found.zone == "" || q.Qclass != dns.ClassINET {
		answer.Rcode = dns.RcodeRefused
		notAuthoritative(answer, t.domain)
		return
	}
	answer.Authoritative = true
	if !found.exists {
		answer.Rcode = dns.RcodeNameError
	}
	answer.Answer = t.records(found, q.Name, q.Qtype)
	for _, rr := range answer.Answer {
		if rr.Header().Rrtype == q.Qtype || q.Qtype == dns.TypeANY {
			return
		}
	}
	// RFC 2308, Section 3: what does not exist is told with the SOA, whose TTL is how long to remember it. That
	// holds for an alias whose target has no such record as well.
	answer.Ns = []dns.RR{t.soa(found.zone, found.zone, ttlNegative)}
}

// What a name is.
type found struct {
	zone   string // the zone it is in; empty: none of ours
	exists bool   // else there is nothing there, nor below it
	apex   bool
	entry  entry
	owner  string // of a reverse name
}

func (t *Table) find(name string) found {
	labels := dns.SplitDomainName(lower(name))
	if n := len(labels) - 2; n >= 0 && t.domain != "" && labels[n]+"."+labels[n+1]+"." == t.domain {
		f := found{zone: t.domain, apex: n == 0, exists: n == 0}
		if n == 1 {
			f.entry, f.exists = t.entries[labels[0]]
		}
		return f
	}
	p, whole, ok := parseReverse(labels)
	if !ok {
		return found{}
	}
	for _, z := range t.reverse {
		if z.prefix.Addr().BitLen() == p.Addr().BitLen() && z.prefix.Bits() <= p.Bits() && z.prefix.Contains(p.Addr()) {
			f := found{zone: z.name}
			if !whole {
				return f
			}
			if p.IsSingleIP() {
				f.owner, f.exists = t.ownerOf(p.Addr())
			} else {
				f.exists = t.anyIn(p)
			}
			if z.prefix.Bits() == p.Bits() {
				f.apex, f.exists = true, true
			}
			return f
		}
	}
	return found{}
}

// records are those of a name that answer a question. They are owned by the name as it was asked, so that its
// spelling comes back, which some resolvers check.
func (t *Table) records(f found, name string, qtype uint16) []dns.RR {
	header := func(rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
	}
	if f.entry.alias != "" {
		alias := &dns.CNAME{Hdr: header(dns.TypeCNAME), Target: f.entry.alias}
		if qtype == dns.TypeCNAME || qtype == dns.TypeANY {
			return []dns.RR{alias}
		}
		return append([]dns.RR{alias}, t.records(t.find(f.entry.alias), f.entry.alias, qtype)...)
	}
	var records []dns.RR
	switch qtype {
	case dns.TypeA, dns.TypeAAAA:
		for _, addr := range f.entry.addrs {
			if rr := addressRecord(header(qtype), addr); rr != nil {
				records = append(records, rr)
			}
		}
	case dns.TypePTR:
		if f.owner != "" {
			records = append(records, &dns.PTR{Hdr: header(qtype), Ptr: f.owner})
		}
	case dns.TypeSOA:
		if f.apex {
			records = append(records, t.soa(name, f.zone, ttl))
		}
	case dns.TypeNS:
		if f.apex {
			records = append(records, &dns.NS{Hdr: header(qtype), Ns: f.zone})
		}
	case dns.TypeANY:
		// RFC 8482, Section 4.2; where nothing has records, there is nothing to stand for.
		if f.apex || f.owner != "" || len(f.entry.addrs) > 0 {
			records = append(records, &dns.HINFO{Hdr: header(dns.TypeHINFO), Cpu: "RFC8482"})
		}
	}
	return records
}

// addressRecord is nil where the address is of the other family.
func addressRecord(header dns.RR_Header, addr netip.Addr) dns.RR {
	switch {
	case header.Rrtype == dns.TypeA && addr.Is4():
		return &dns.A{Hdr: header, A: addr.AsSlice()}
	case header.Rrtype == dns.TypeAAAA && addr.Is6():
		return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}
	}
	return nil
}

// soa is the one of RFC 6303, Section 3, but for the time that negative answers are kept.
func (t *Table) soa(owner, zone string, seconds uint32) *dns.SOA {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: seconds},
		Ns:  strings.Clone(zone), Mbox: "nobody.invalid.", Serial: t.serial,
		Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: ttlNegative,
	}
}
