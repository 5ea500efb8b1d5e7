package zone

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	// MaxQuery is the size beyond which a query is not looked at: a name, options and some reserve.
	MaxQuery = 4096
	// minUDP is what every requester takes (RFC 1035, Section 4.2.1).
	minUDP = 512
	// maxUDP fits the smallest IPv6 path without fragments, which is what the overlay may have.
	maxUDP = 1232
)

// Reply answers a query in wire format, as it is to be sent over UDP or over TCP; nil: nothing may be said.
func (t *Table) Reply(query []byte, udp bool) []byte {
	if len(query) < headerSize || len(query) > MaxQuery || query[2]&0x80 != 0 {
		return nil
	}
	message := new(dns.Msg)
	if opcode := int(query[2]>>3) & 15; opcode != dns.OpcodeQuery {
		return refusal(query, dns.RcodeNotImplemented)
	}
	if err := message.Unpack(query); err != nil {
		return refusal(query, dns.RcodeFormatError)
	}
	answer := t.Answer(message, udp)
	if answer == nil {
		return nil
	}
	reply, err := answer.Pack()
	if err != nil {
		return refusal(query, dns.RcodeServerFailure)
	}
	return reply
}

// refusal is a bare header: of a message that could not be read, nothing else is worth repeating.
func refusal(query []byte, rcode int) []byte {
	header := make([]byte, headerSize)
	copy(header, query[:2])
	binary.BigEndian.PutUint16(header[2:], 0x8000|uint16(query[2]&0x79)<<8|uint16(rcode))
	return header
}

// options finds the OPT record; not ok where there are several, or it has a name (RFC 6891, Section 6.1.1).
func options(query *dns.Msg) (opt *dns.OPT, ok bool) {
	for _, rr := range query.Extra {
		if o, is := rr.(*dns.OPT); is {
			if opt != nil || o.Hdr.Name != "." {
				return nil, false
			}
			opt = o
		}
	}
	return opt, true
}

func addOptions(answer *dns.Msg, asked *dns.OPT) {
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(maxUDP)
	opt.SetDo(asked.Do()) // RFC 3225, Section 3
	answer.Extra = []dns.RR{opt}
}

// notAuthoritative tells who asks by hand why nothing was said (RFC 8914, Section 4.21).
func notAuthoritative(answer *dns.Msg, domain string) {
	if opt := answer.IsEdns0(); opt != nil && domain != "" {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{
			InfoCode: dns.ExtendedErrorCodeNotAuthoritative, ExtraText: "this server knows " + domain + " only",
		})
	}
}

// truncate empties an answer that is too long for UDP, and says so: part of the addresses could be taken for all.
func truncate(answer *dns.Msg, opt *dns.OPT, udp bool) {
	if !udp {
		return
	}
	size := minUDP
	if opt != nil {
		size = min(max(minUDP, int(opt.UDPSize())), maxUDP)
	}
	if answer.Len() > size {
		answer.Truncated = true
		answer.Answer, answer.Ns = nil, nil
	}
}
