package mainline

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// A response is what is to be encoded.
type response struct {
	id             nodeID
	to             netip.AddrPort
	refusal        putError // its code is 0: none
	nodes4, nodes6 []node
	token          []byte
	values         []netip.AddrPort
	item           *item
	seqAlone       bool // of the item
}

// encode drops the farthest nodes that would make the answer too long.
func (r *response) encode(transaction []byte) []byte {
	for {
		b := r.appendTo(nil, transaction)
		if len(b) <= maxAnswer || len(r.nodes4)+len(r.nodes6) == 0 {
			return b
		}
		if len(r.nodes4) > len(r.nodes6) {
			r.nodes4 = r.nodes4[:len(r.nodes4)-1]
		} else {
			r.nodes6 = r.nodes6[:len(r.nodes6)-1]
		}
	}
}

func (r *response) appendTo(b, transaction []byte) []byte {
	if r.refusal.code != 0 {
		b = appendInt(append(b, "d1:el"...), r.refusal.code)
		b = append(appendString(b, r.refusal.text), 'e')
		b = appendString(append(b, "1:t"...), transaction)
		return append(b, "1:y1:ee"...)
	}
	b = appendString(append(b, "d2:ip"...), compact(nil, r.to)) // BEP 42
	b = appendString(append(b, "1:rd2:id"...), r.id[:])
	if i := r.item; i.mutable() && !r.seqAlone {
		b = appendString(append(b, "1:k"...), i.key[:])
	}
	b = appendNodes(b, "5:nodes", r.nodes4)
	b = appendNodes(b, "6:nodes6", r.nodes6)
	if i := r.item; i.mutable() {
		b = appendInt(append(b, "3:seq"...), i.seq)
		if !r.seqAlone {
			b = appendString(append(b, "3:sig"...), i.sig[:])
		}
	}
	if r.token != nil {
		b = appendString(append(b, "5:token"...), r.token)
	}
	if i := r.item; i != nil && !r.seqAlone {
		b = append(append(b, "1:v"...), i.v...)
	}
	if len(r.values) > 0 {
		b = append(b, "6:valuesl"...)
		for _, v := range r.values {
			b = appendString(b, compact(nil, v))
		}
		b = append(b, 'e')
	}
	b = appendString(append(b, "e1:t"...), transaction)
	return append(b, "1:y1:re"...)
}

func appendNodes(b []byte, key string, nodes []node) []byte {
	if len(nodes) == 0 {
		return b
	}
	var s []byte
	for _, n := range nodes {
		s = compact(append(s, n.id[:]...), n.addr)
	}
	return appendString(append(b, key...), s)
}

// compact appends an address in BEP 5's form.
func compact(b []byte, a netip.AddrPort) []byte {
	b = append(b, a.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// appendString appends s bencoded.
func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...)
}

// appendInt appends v bencoded.
func appendInt(b []byte, v int64) []byte {
	b = append(b, 'i')
	b = strconv.AppendInt(b, v, 10)
	return append(b, 'e')
}
