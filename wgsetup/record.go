package wgsetup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// record is what is to be put back on the host when nothing is forwarded any
// more. It is kept as names of empty chains in the network's own nftables
// table, which is as old as the settings: a reboot ends both, and each network
// namespace has its own.
type record struct {
	was     map[string]string // settings below /proc/sys, as they were found
	plain   []string          // links of a host that forwarded nothing
	bridges []string          // those of them that are bridges
}

// The settings that Forward and Exit need.
const (
	forwardSetting4 = "net/ipv4/ip_forward"
	forwardSetting6 = "net/ipv6/conf/all/forwarding"
	markSetting     = "net/ipv4/conf/all/src_valid_mark"
)

const (
	recordWas    = "was/"
	recordPlain  = "link/"
	recordBridge = "bridge/"

	// maxRecord bounds what is read from the table.
	maxRecord = 4096
)

// opened says whether the host forwarded nothing of a family before.
func (r record) opened(ipv6 bool) bool {
	setting := forwardSetting4
	if ipv6 {
		setting = forwardSetting6
	}
	return r.was[setting] == "0"
}

func (r record) links() []string { return slices.Concat(r.plain, r.bridges) }

// names are those of chains.
func (r record) names() []string {
	var names []string
	for _, path := range slices.Sorted(maps.Keys(r.was)) {
		names = append(names, recordWas+escapeName(path)+"/"+escapeName(r.was[path]))
	}
	for _, l := range r.plain {
		names = append(names, recordPlain+escapeName(l))
	}
	for _, l := range r.bridges {
		names = append(names, recordBridge+escapeName(l))
	}
	return names
}

// parseRecord passes over what is none: the table has other chains.
func parseRecord(names []string) record {
	r := record{was: make(map[string]string)}
	for _, name := range names[:min(len(names), maxRecord)] {
		kind, rest, _ := strings.Cut(name, "/")
		text, ok := unescapeName(rest)
		if !ok {
			continue
		}
		switch kind + "/" {
		case recordWas:
			// All settings here are one of two.
			i := strings.LastIndexByte(text, '/')
			if i > 0 && settable(text[:i]) && (text[i+1:] == "0" || text[i+1:] == "1") {
				r.was[text[:i]] = text[i+1:]
			}
		case recordPlain:
			r.plain = append(r.plain, text)
		case recordBridge:
			r.bridges = append(r.bridges, text)
		}
	}
	return r
}

// settable says whether a setting is one that this package writes: a table can
// be anybody's who may write the host's ruleset, but not further.
func settable(path string) bool {
	switch path {
	case forwardSetting4, forwardSetting6, markSetting:
		return true
	}
	link, ok := acceptsRouters(path)
	return ok && link != "" && !strings.Contains(link, "/") && link != "." && link != ".."
}

// acceptRouters is a link's setting for router advertisements.
func acceptRouters(link string) string { return "net/ipv6/conf/" + link + "/accept_ra" }

func acceptsRouters(path string) (link string, ok bool) {
	rest, ok := strings.CutPrefix(path, "net/ipv6/conf/")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "/accept_ra")
}

// escapeName writes what nft could not read in a name as a dot and two digits.
func escapeName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '_', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, ".%02x", c)
		}
	}
	return b.String()
}

func unescapeName(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '.' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
