package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// named is a node as names are given out: what it calls itself, and what else it
// would like to be found by.
type named struct {
	id      string // 16 base32 characters, which nobody can take
	name    string // empty: none
	aliases []string
	self    bool
}

// labels are the DNS labels by which this host finds a node, besides its id.
type labels struct {
	// plain is the node's own name; empty where another node holds that here.
	plain string
	// distinct is its name with the beginning of its id, which resolves whoever
	// holds the plain one. Empty for a node without a name.
	distinct string
	aliases  []string // those of its aliases that it holds
}

// best is the label that a person should use.
func (l labels) best(id string) string { return cmp.Or(l.plain, l.distinct, id) }

// names decides who is found by which label on this host. Names are first come:
// whoever this host knew first under one keeps it for as long as it asks for it
// and its record lives, whatever others ask for later. That differs between hosts
// only where two nodes took one name before anybody knew both, and it is said.
// A state machine without a clock: review is told who asks for what.
type names struct {
	// held says by id who holds a label. It outlives restarts, so that a name
	// does not pass to a newcomer only because this host slept.
	held map[string]string
	of   map[string]labels // by id
}

// distinctDigits is how many characters of the id tell nodes of one name apart,
// where no two of them begin alike.
const distinctDigits = 4

// review gives the labels out anew. It reports whether any differs, a sentence
// on what is asked for twice (empty: nothing), and one for each label that has
// passed from one node to another.
func (n *names) review(all []named) (changed bool, twice string, passed []string) {
	all = slices.Clone(all)
	// This host knows itself before all others.
	slices.SortFunc(all, func(a, b named) int {
		if a.self != b.self {
			if a.self {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
	byID := make(map[string]named, len(all))
	askers := make(map[string][]string) // by label; those that have it as their name come first
	for _, x := range all {
		byID[x.id] = x
		if x.name != "" {
			askers[x.name] = append(askers[x.name], x.id)
		}
	}
	for _, x := range all {
		for _, a := range x.aliases {
			if !slices.Contains(askers[a], x.id) {
				askers[a] = append(askers[a], x.id)
			}
		}
	}
	held := make(map[string]string, len(askers))
	reserved := n.distinctOf(all)
	for label, ids := range askers {
		if _, anID := byID[label]; anID {
			continue // an id is nobody's name
		}
		before, known := n.held[label]
		holder := ids[0]
		switch owner := reserved[label]; {
		case known && slices.Contains(ids, before):
			holder = before
		case owner != "" && owner != holder && !byID[holder].self:
			// Users have it for another node, and it is easily asked for.
			if known {
				passed = append(passed, fmt.Sprintf("the name %s belongs to no node now (before to the one with the id %s)", label, before))
			}
			continue
		}
		held[label] = holder
		if known && before != holder {
			passed = append(passed, fmt.Sprintf("the name %s belongs to another node now (id %s, before %s)", label, holder, before))
		}
	}
	slices.Sort(passed)
	of := n.give(all, held)
	changed = !maps.EqualFunc(of, n.of, func(a, b labels) bool {
		return a.plain == b.plain && a.distinct == b.distinct && slices.Equal(a.aliases, b.aliases)
	})
	n.held, n.of = held, of
	return changed, n.twice(askers), passed
}

// distinctOf are the labels that were told to users, or are about to be, because
// they are of one node only: its id by label.
func (n *names) distinctOf(all []named) map[string]string {
	of := make(map[string]string, 2*len(all))
	for _, x := range all {
		l := n.of[x.id].distinct
		if digits := len(l) - 1 - strings.LastIndexByte(l, '-'); l != "" && x.name != "" && x.distinct(digits) == l {
			of[l] = x.id // it has its name still
		}
	}
	for _, x := range all {
		if x.name == "" {
			continue
		}
		if l := x.distinct(distinctDigits); of[l] == "" {
			of[l] = x.id
		}
	}
	return of
}

// distinct is the node's name with so many characters of its id.
func (x named) distinct(digits int) string {
	// A label has at most 63 characters: the id's are the ones that count.
	n := min(digits, len(x.id))
	return x.name[:min(len(x.name), 62-n)] + "-" + x.id[:n]
}

// give says what each node is found by, now that it is settled who holds what.
func (n *names) give(all []named, held map[string]string) map[string]labels {
	distinct := distinctLabels(all, held)
	of := make(map[string]labels, len(all))
	for _, x := range all {
		l := labels{distinct: distinct[x.id]}
		if x.name != "" && held[x.name] == x.id {
			l.plain = x.name
		}
		for _, a := range x.aliases {
			if held[a] == x.id && a != x.name {
				l.aliases = append(l.aliases, a)
			}
		}
		of[x.id] = l
	}
	return of
}

// distinctLabels returns, by id, a name with as much of the id as it takes to tell
// it from all others. Where two ids begin alike, both get a longer one: else the
// shorter would be for the taking, a few characters of an id being easily found.
func distinctLabels(all []named, held map[string]string) map[string]string {
	out := make(map[string]string, len(all))
	pending := slices.DeleteFunc(slices.Clone(all), func(x named) bool { return x.name == "" })
	for digits := distinctDigits; len(pending) > 0; digits++ {
		count := make(map[string]int, len(pending))
		for _, x := range pending {
			count[x.distinct(digits)]++
		}
		pending = slices.DeleteFunc(pending, func(x named) bool {
			if digits > len(x.id) {
				return true
			}
			l := x.distinct(digits)
			if holder, taken := held[l]; count[l] > 1 || taken && holder != x.id {
				return false
			}
			out[x.id] = l
			return true
		})
	}
	return out
}

// twice says which labels more than one node asks for, or one that cannot have it.
func (n *names) twice(askers map[string][]string) string {
	const most = 4
	var all []string
	for label, ids := range askers {
		holder := n.held[label]
		if len(ids) < 2 && holder != "" {
			continue
		}
		var others []string
		for _, id := range ids {
			if id != holder {
				others = append(others, n.of[id].best(id))
			}
		}
		if len(others) > most {
			others = append(others[:most], fmt.Sprintf("%d more", len(others)-most))
		}
		if holder == "" {
			all = append(all, fmt.Sprintf("the name %s is asked for, which tells another node apart by its id: who asks is found as %s", label, strings.Join(others, ", ")))
			continue
		}
		are := "the other is found as"
		if len(ids) > 2 {
			are = "the others are found as"
		}
		all = append(all, fmt.Sprintf("%d nodes ask for the name %s: here it means the one with the id %s; %s %s",
			len(ids), label, holder, are, strings.Join(others, ", ")))
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("so it is with %d names more", len(all)-most))
	}
	return strings.Join(all, "; ") + ": give one of them another with \"credant rename\" there, or take an extra name back with \"credant dns remove\""
}

// reviewNames gives the names out anew where somebody asks for another one.
func (m *mesh) reviewNames(now time.Time) {
	if !m.namesChanged && m.names.of != nil || !m.namesPace.allows(now) {
		return
	}
	m.namesChanged = false
	all := []named{{id: string(m.self.public.ID()), name: m.self.name, aliases: m.self.aliases, self: true}}
	for _, p := range m.peers {
		all = append(all, named{id: string(p.node.ID()), name: p.record.Name, aliases: p.record.Aliases})
	}
	changed, twice, passed := m.names.review(all)
	for _, p := range m.peers {
		id := string(p.node.ID())
		p.label = m.names.of[id].best(id)
	}
	m.notice("names", twice)
	for _, text := range passed {
		m.event("name", "", text, false)
	}
	m.out.names = m.out.names || changed
}

// find returns the id of the node that is found by the label.
func (n *names) find(label string) (id string, ok bool) {
	if id, ok = n.held[label]; ok {
		return id, true
	}
	for id, l := range n.of {
		if l.distinct == label {
			return id, true
		}
	}
	return "", false
}
