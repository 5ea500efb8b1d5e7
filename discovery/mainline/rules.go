package mainline

import "github.com/credant/credant/natpunch/demux"

// maxDatagram is the longest datagram handed to the library. libtorrent's reply with
// a BEP 44 item of the largest size, key, signature and nodes of both families is
// longer than an Ethernet frame, and comes in fragments.
const maxDatagram = 2048

// Reasons for which the guard drops a datagram.
const (
	dropOversized = demux.DropOversized
	dropMalformed = demux.DropMalformed // not one bencoded dictionary of KRPC's shape
	dropReadOnly  = "dht-query"         // a query, and this node answers none
	dropMethod    = "dht-method"        // a query nobody here knows
	dropArguments = "dht-argument"      // arguments missing, or of the wrong type or size
	dropReply     = "dht-reply"         // a reply or error of the wrong shape
	// dropUnsolicited: an answer from an address that was not asked lately.
	dropUnsolicited = demux.DropUnsolicited
)

// A rule says what one key of a dictionary must hold. Keys without a rule may hold
// anything well-formed: the library skips them.
type rule struct {
	key string
	ok  func(value []byte) bool
}

// The library decodes into Go types by reflection, and panics or logs where a
// value does not fit. So each field that it knows has a rule, and no rule is wider
// than what its field can take.
var (
	messageRules = []rule{
		{"q", isString(1, 32)},
		{"a", isDict},
		{"t", isString(1, 64)}, // echoed in answers
		{"y", isString(1, 1)},
		{"r", isDict},
		{"e", isError},
		// An "ip" of fewer than two bytes is a slice of negative length there, which
		// kills the process.
		{"ip", isString(2, 18)},
		{"ro", isInt},
		{"v", isString(0, 64)},
	}
	argumentRules = []rule{
		{"id", isString(20, 20)},
		{"info_hash", isString(20, 20)},
		{"target", isString(20, 20)},
		{"token", isString(0, 256)},
		{"port", isInt},
		{"implied_port", isInt},
		{"want", isListOf(isString(0, 8))},
		{"noseed", isInt},
		{"scrape", isInt},
		{"v", isAny},
		{"seq", isInt},
		{"cas", isInt},
		{"k", isString(32, 32)},
		{"salt", isString(0, 64)},
		{"sig", isString(64, 64)},
	}
	returnRules = []rule{
		{"id", isString(20, 20)},
		{"nodes", isStringOf(26)},
		{"nodes6", isStringOf(38)},
		{"token", isString(0, 256)},
		// As with "ip": an address of fewer than two bytes kills the process.
		{"values", isListOf(isAddress)},
		{"BFsd", isString(256, 256)},
		{"BFpe", isString(256, 256)},
		{"interval", isInt},
		{"num", isInt},
		{"samples", isStringOf(20)},
		{"v", isAny},
		{"k", isString(32, 32)},
		{"sig", isString(64, 64)},
		{"seq", isInt},
	}
)

// required names the arguments without which a query is refused. The library
// dereferences the whole of "a" in announce_peer and put without looking.
var required = map[string][]string{
	"ping":          {"id"},
	"find_node":     {"id", "target"},
	"get_peers":     {"id", "info_hash"},
	"announce_peer": {"id", "info_hash", "token"},
	"get":           {"id", "target"},
	"put":           {"id", "token", "v"},
}

// A message is one that passed. Its fields point into the datagram.
type message struct {
	top  fields
	body fields // of "a" or "r"
}

func (m *message) query() bool {
	y, _ := parseString(m.top.value("y"))
	return len(y) == 1 && y[0] == 'q'
}

// examine returns why the datagram b is refused, or "" and what is in it. A readOnly
// node takes no queries at all.
func examine(b []byte, readOnly bool) (m message, reason string) {
	switch {
	case len(b) > maxDatagram:
		return m, dropOversized
	case len(b) == 0 || b[0] != 'd' || skipValue(b, maxDepth) != len(b):
		return m, dropMalformed
	}
	var ok bool
	if m.top, ok = apply(messageRules, b); !ok || !m.top.has("t", "y") {
		return m, dropMalformed
	}
	y, _ := parseString(m.top.value("y"))
	switch y[0] {
	case 'q':
		if readOnly {
			return m, dropReadOnly
		}
		return m, m.examineQuery()
	case 'r':
		return m, m.examineReply()
	case 'e':
		if !m.top.has("e") {
			return m, dropReply
		}
		return m, ""
	}
	return m, dropMalformed
}

func (m *message) examineQuery() string {
	if !m.top.has("q") {
		return dropMethod
	}
	q, _ := parseString(m.top.value("q"))
	need, known := required[string(q)]
	if !known {
		return dropMethod
	}
	if !m.top.has("a") {
		return dropArguments
	}
	var ok bool
	m.body, ok = apply(argumentRules, m.top.value("a"))
	if !ok || !m.body.has(need...) || m.body.has("k") && !m.body.has("seq", "sig") {
		return dropArguments
	}
	return ""
}

func (m *message) examineReply() string {
	if !m.top.has("r") {
		return dropReply
	}
	var ok bool
	m.body, ok = apply(returnRules, m.top.value("r"))
	// The library's Get dereferences "seq" wherever "k" is the one that it looks for.
	if !ok || !m.body.has("id") || m.body.has("k") && !m.body.has("seq", "sig", "v") {
		return dropReply
	}
	return ""
}

// fields are the values of one dictionary, in the order of the rules it was held
// against; nil where it lacks the key.
type fields struct {
	rules  []rule
	values [16][]byte
}

// apply holds the well-formed dictionary d against rules.
func apply(rules []rule, d []byte) (f fields, ok bool) {
	if !isDict(d) {
		return f, false
	}
	f.rules = rules
	ok = eachEntry(d, func(key, value []byte) bool {
		for i, r := range rules {
			if r.key != string(key) {
				continue
			}
			f.values[i] = value
			return r.ok(value)
		}
		return true
	})
	return f, ok
}

func (f *fields) value(key string) []byte {
	for i, r := range f.rules {
		if r.key == key {
			return f.values[i]
		}
	}
	return nil
}

// string is what the string at key holds, nil where it lacks the key.
func (f *fields) string(key string) []byte {
	v := f.value(key)
	if v == nil {
		return nil
	}
	s, _ := parseString(v)
	return s
}

// int is what the integer at key is.
func (f *fields) int(key string) (v int64, ok bool) {
	b := f.value(key)
	if b == nil {
		return 0, false
	}
	v, n := parseInt(b)
	return v, n > 0
}

func (f *fields) has(keys ...string) bool {
	for _, k := range keys {
		if f.value(k) == nil {
			return false
		}
	}
	return true
}

func isDict(v []byte) bool { return v[0] == 'd' }

func isAny([]byte) bool { return true }

func isInt(v []byte) bool { return v[0] == 'i' }

func isString(shortest, longest int) func([]byte) bool {
	return func(v []byte) bool {
		s, n := parseString(v)
		return n > 0 && len(s) >= shortest && len(s) <= longest
	}
}

// isStringOf takes strings that are whole elements of the given size.
func isStringOf(size int) func([]byte) bool {
	return func(v []byte) bool {
		s, n := parseString(v)
		return n > 0 && len(s)%size == 0
	}
}

func isListOf(element func([]byte) bool) func([]byte) bool {
	return func(v []byte) bool { return v[0] == 'l' && eachElement(v, element) }
}

// isAddress takes compact addresses of either family with a port.
func isAddress(v []byte) bool {
	s, n := parseString(v)
	return n > 0 && (len(s) == 4+2 || len(s) == 16+2)
}

// isError takes [code, text] with perhaps more behind it, or a text alone.
func isError(v []byte) bool {
	if isString(0, maxDatagram)(v) {
		return true
	}
	if v[0] != 'l' {
		return false
	}
	shape := []func([]byte) bool{isInt, isString(0, maxDatagram)}
	i := 0
	ok := eachElement(v, func(e []byte) bool {
		i++
		return i > len(shape) || shape[i-1](e)
	})
	return ok && i >= len(shape)
}
