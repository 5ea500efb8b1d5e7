package zone

import (
	"net/netip"
	"slices"
	"strings"
)

// Suffix is the top level domain of every network: it is reserved for private use.
const Suffix = "internal"

// Bounds of a table. What is beyond them is left out, the last first.
const (
	MaxNodes     = 4096
	MaxNames     = 32 // of a node, besides its name and its id
	MaxAddresses = 32 // of a node
)

// A Zone is what is known of one network. Only Network must be set.
type Zone struct {
	Network string
	Nodes   []Node // of two that have the same label, the first keeps it; ids beat names, names beat further names
	Reverse []netip.Prefix
	Serial  uint32 // to be raised whenever anything else changes
}

// A Node is one machine and the labels below the network's domain that it is found by. A label that is no
// hostname (RFC 1123, at most 63 of a-z, 0-9 and -) is left out.
type Node struct {
	Name  string   // the label it is mainly found by; empty: the first of Names, or the ID
	Names []string // further labels, each a CNAME of the first
	ID    string   // always resolves, to the addresses themselves
	Addrs []netip.Addr
}

// Domain is the network's domain, without a dot at its end.
func Domain(network string) string { return network + "." + Suffix }

// A Table answers for one state of a network. The zero Table refuses everything.
type Table struct {
	domain string // lower case, with a dot at its end
	serial uint32

	entries map[string]entry // by lower-case label below the domain
	hosts   []Host
	reverse []reverseZone
	owners  []owner // by address
}

// An entry is what a label below the domain is: an alias of another name, or addresses.
type entry struct {
	alias string // the whole name, with a dot at its end
	addrs []netip.Addr
}

// An owner is the name that an address leads back to.
type owner struct {
	addr netip.Addr
	name string
}

// A Host is an address and all names that lead to it, the main one first, without dots at their ends.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// New indexes a zone.
func New(z Zone) *Table {
	t := &Table{serial: z.Serial, entries: map[string]entry{}}
	if label, ok := hostLabel(z.Network); ok {
		t.domain = Domain(label) + "."
		t.addNodes(z.Nodes[:min(len(z.Nodes), MaxNodes)])
	}
	t.addReverse(z.Reverse)
	return t
}

func (t *Table) addNodes(nodes []Node) {
	labels := make([][]string, len(nodes)) // what each node got, the main one first, its id last
	take := func(i int, label string, e entry) {
		label, ok := hostLabel(label)
		if _, taken := t.entries[label]; ok && !taken {
			t.entries[label] = e
			labels[i] = append(labels[i], label)
		}
	}
	addrs := make([][]netip.Addr, len(nodes))
	ids := make([][]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = addresses(n.Addrs)
		take(i, n.ID, entry{addrs: addrs[i]})
		ids[i], labels[i] = labels[i], nil
	}
	for i, n := range nodes {
		take(i, n.Name, entry{addrs: addrs[i]})
	}
	for i, n := range nodes {
		for _, name := range n.Names[:min(len(n.Names), MaxNames)] {
			if len(labels[i]) == 0 {
				take(i, name, entry{addrs: addrs[i]})
			} else {
				take(i, name, entry{alias: labels[i][0] + "." + t.domain})
			}
		}
	}
	for i := range nodes {
		names := make([]string, 0, len(labels[i])+1)
		for _, label := range slices.Concat(labels[i], ids[i]) {
			names = append(names, label+"."+strings.TrimSuffix(t.domain, "."))
		}
		if len(names) == 0 {
			continue
		}
		for _, addr := range addrs[i] {
			t.hosts = append(t.hosts, Host{Addr: addr, Names: names})
			t.owners = append(t.owners, owner{addr: addr, name: names[0] + "."})
		}
	}
	slices.SortStableFunc(t.owners, func(a, b owner) int { return a.addr.Compare(b.addr) })
	t.owners = slices.CompactFunc(t.owners, func(a, b owner) bool { return a.addr == b.addr })
}

// Hosts is every address with the names that lead to it, in the order of the zone's nodes. The caller must not
// change it.
func (t *Table) Hosts() []Host { return t.hosts }

// hostLabel is the label in lower case, and whether it is one (RFC 1123, Section 2.1).
func hostLabel(s string) (string, bool) {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return "", false
	}
	s = lower(s)
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return "", false
		}
	}
	return s, true
}

// lower folds ASCII only, as DNS does (RFC 4343).
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// addresses drops what no record can carry.
func addresses(addrs []netip.Addr) []netip.Addr {
	var kept []netip.Addr
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		if addr.IsValid() && !addr.IsUnspecified() && !slices.Contains(kept, addr) && len(kept) < MaxAddresses {
			kept = append(kept, addr)
		}
	}
	return kept
}

// ownerOf finds the name of an address.
func (t *Table) ownerOf(addr netip.Addr) (string, bool) {
	i, found := t.searchOwner(addr)
	if !found {
		return "", false
	}
	return t.owners[i].name, true
}

// anyIn tells whether an address in the prefix has a name.
func (t *Table) anyIn(p netip.Prefix) bool {
	i, _ := t.searchOwner(p.Masked().Addr())
	return i < len(t.owners) && p.Contains(t.owners[i].addr)
}

func (t *Table) searchOwner(addr netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(t.owners, addr, func(o owner, addr netip.Addr) int {
		return o.addr.Compare(addr)
	})
}
