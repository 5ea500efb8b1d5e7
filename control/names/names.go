package names

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Node is a node as names are given out: what it calls itself, and what else it
// would like to be found by.
type Node struct {
	ID      string // 16 base32 characters, which nobody can take
	Name    string // empty: none
	Aliases []string
	Self    bool // it is this host
}

// Labels are the DNS labels by which this host finds a node, besides its id.
type Labels struct {
	// Plain is the node's own name; empty where another node holds that here.
	Plain string
	// Distinct is its name with the beginning of its id, which resolves whoever
	// holds the plain one. Empty for a node without a name.
	Distinct string
	Aliases  []string // those of its aliases that it holds
}

// Best is the label that a person should use.
func (l Labels) Best(id string) string { return cmp.Or(l.Plain, l.Distinct, id) }

// Table says who is found by which label. The zero Table knows nobody.
type Table struct {
	// held says by id who holds a label. It outlives restarts, so that a name
	// does not pass to a newcomer only because this host slept.
	held map[string]string
	of   map[string]Labels // by id
}

// New returns a table in which the labels are held as Held said in an earlier run.
func New(held map[string]string) *Table { return &Table{held: held} }

// Held says, by label, the id of the node that holds it. The map is not changed
// afterwards: a review makes another one.
func (t *Table) Held() map[string]string { return t.held }

// Of are the labels of a node; false before the first review that it was part of.
func (t *Table) Of(id string) (Labels, bool) {
	l, ok := t.of[id]
	return l, ok
}

// Find returns the id of the node that is found by the label.
func (t *Table) Find(label string) (id string, ok bool) {
	if id, ok = t.held[label]; ok {
		return id, true
	}
	for id, l := range t.of {
		if l.Distinct == label {
			return id, true
		}
	}
	return "", false
}

// Review gives the labels out anew. It reports whether any differs, a sentence
// on what is asked for twice (empty: nothing), and one for each label that has
// passed from one node to another.
func (t *Table) Review(all []Node) (changed bool, twice string, passed []string) {
	all = slices.Clone(all)
	// This host knows itself before all others.
	slices.SortFunc(all, func(a, b Node) int {
		if a.Self != b.Self {
			if a.Self {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	byID := make(map[string]Node, len(all))
	askers := make(map[string][]string) // by label; those that have it as their name come first
	for _, x := range all {
		byID[x.ID] = x
		if x.Name != "" {
			askers[x.Name] = append(askers[x.Name], x.ID)
		}
	}
	for _, x := range all {
		for _, a := range x.Aliases {
			if !slices.Contains(askers[a], x.ID) {
				askers[a] = append(askers[a], x.ID)
			}
		}
	}
	held := make(map[string]string, len(askers))
	reserved := t.distinctOf(all)
	for label, ids := range askers {
		if _, anID := byID[label]; anID {
			continue // an id is nobody's name
		}
		before, known := t.held[label]
		holder := ids[0]
		switch owner := reserved[label]; {
		case known && slices.Contains(ids, before):
			holder = before
		case owner != "" && owner != holder && !byID[holder].Self:
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
	of := t.give(all, held)
	changed = !maps.EqualFunc(of, t.of, func(a, b Labels) bool {
		return a.Plain == b.Plain && a.Distinct == b.Distinct && slices.Equal(a.Aliases, b.Aliases)
	})
	t.held, t.of = held, of
	return changed, t.twice(askers), passed
}

// give says what each node is found by, now that it is settled who holds what.
func (t *Table) give(all []Node, held map[string]string) map[string]Labels {
	distinct := distinctLabels(all, held)
	of := make(map[string]Labels, len(all))
	for _, x := range all {
		l := Labels{Distinct: distinct[x.ID]}
		if x.Name != "" && held[x.Name] == x.ID {
			l.Plain = x.Name
		}
		for _, a := range x.Aliases {
			if held[a] == x.ID && a != x.Name {
				l.Aliases = append(l.Aliases, a)
			}
		}
		of[x.ID] = l
	}
	return of
}

// twice says which labels more than one node asks for, or one that cannot have it.
func (t *Table) twice(askers map[string][]string) string {
	const most = 4
	var all []string
	for label, ids := range askers {
		holder := t.held[label]
		if len(ids) < 2 && holder != "" {
			continue
		}
		var others []string
		for _, id := range ids {
			if id != holder {
				others = append(others, t.of[id].Best(id))
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
