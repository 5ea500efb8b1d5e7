package mainline

import (
	"bytes"
	"strconv"
)

// maxDepth bounds the nesting of one datagram. KRPC itself nests three deep; the
// rest is room for BEP 44 values.
const maxDepth = 12

// skipValue returns the length of the bencoded value that b begins with, or 0
// when b does not begin with a well-formed one. It takes what BEP 3 defines and
// nothing else: no leading zeros, no "-0", integers of 64 bits, dictionaries with
// strictly ascending keys. So no key comes twice, and what is checked is what the
// library then uses.
func skipValue(b []byte, depth int) int {
	if len(b) == 0 || depth <= 0 {
		return 0
	}
	switch c := b[0]; {
	case c == 'i':
		_, n := parseInt(b)
		return n
	case c >= '0' && c <= '9':
		_, n := parseString(b)
		return n
	case c == 'l', c == 'd':
		var last []byte
		for i, entry := 1, 0; i < len(b); entry++ {
			if b[i] == 'e' {
				return i + 1
			}
			if c == 'd' {
				key, n := parseString(b[i:])
				if n == 0 || entry > 0 && bytes.Compare(last, key) >= 0 {
					return 0
				}
				last = key
				i += n
			}
			n := skipValue(b[i:], depth-1)
			if n == 0 {
				return 0
			}
			i += n
		}
	}
	return 0
}

// parseString returns the content of the bencoded string that b begins with and
// the length of its encoding, which is 0 when there is none.
func parseString(b []byte) (content []byte, n int) {
	colon := bytes.IndexByte(b[:min(len(b), len("65535:"))], ':')
	if colon < 1 || b[0] == '0' && colon > 1 {
		return nil, 0
	}
	size := 0
	for _, c := range b[:colon] {
		if c < '0' || c > '9' {
			return nil, 0
		}
		size = size*10 + int(c-'0')
	}
	if size > len(b)-colon-1 {
		return nil, 0
	}
	return b[colon+1 : colon+1+size], colon + 1 + size
}

// parseInt returns the bencoded integer that b begins with and the length of its
// encoding, which is 0 when there is none.
func parseInt(b []byte) (v int64, n int) {
	end := bytes.IndexByte(b[:min(len(b), len("i-9223372036854775808e"))], 'e')
	if end < 2 || b[0] != 'i' {
		return 0, 0
	}
	s := string(b[1:end])
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != s {
		return 0, 0
	}
	return v, end + 1
}

// eachEntry calls f with every key and encoded value of the well-formed dictionary
// d, until f returns false. It reports whether f never did.
func eachEntry(d []byte, f func(key, value []byte) bool) bool {
	for i := 1; d[i] != 'e'; {
		key, n := parseString(d[i:])
		i += n
		size := skipValue(d[i:], maxDepth)
		if !f(key, d[i:i+size]) {
			return false
		}
		i += size
	}
	return true
}

// eachElement is eachEntry for the well-formed list l.
func eachElement(l []byte, f func(value []byte) bool) bool {
	for i := 1; l[i] != 'e'; {
		size := skipValue(l[i:], maxDepth)
		if !f(l[i : i+size]) {
			return false
		}
		i += size
	}
	return true
}
