package names

import (
	"slices"
	"strings"
)

// distinctDigits is how many characters of the id tell nodes of one name apart,
// where no two of them begin alike.
const distinctDigits = 4

// distinctLabels returns, by id, a name with as much of the id as it takes to tell
// it from all others. Where two ids begin alike, both get a longer one: else the
// shorter would be for the taking, a few characters of an id being easily found.
func distinctLabels(all []Node, held map[string]string) map[string]string {
	out := make(map[string]string, len(all))
	pending := slices.DeleteFunc(slices.Clone(all), func(x Node) bool { return x.Name == "" })
	for digits := distinctDigits; len(pending) > 0; digits++ {
		count := make(map[string]int, len(pending))
		for _, x := range pending {
			count[x.distinct(digits)]++
		}
		pending = slices.DeleteFunc(pending, func(x Node) bool {
			if digits > len(x.ID) {
				return true
			}
			l := x.distinct(digits)
			if holder, taken := held[l]; count[l] > 1 || taken && holder != x.ID {
				return false
			}
			out[x.ID] = l
			return true
		})
	}
	return out
}

// distinctOf are the labels that were told to users, or are about to be, because
// they are of one node only: its id by label.
func (t *Table) distinctOf(all []Node) map[string]string {
	of := make(map[string]string, 2*len(all))
	for _, x := range all {
		l := t.of[x.ID].Distinct
		if digits := len(l) - 1 - strings.LastIndexByte(l, '-'); l != "" && x.Name != "" && x.distinct(digits) == l {
			of[l] = x.ID // it has its name still
		}
	}
	for _, x := range all {
		if x.Name == "" {
			continue
		}
		if l := x.distinct(distinctDigits); of[l] == "" {
			of[l] = x.ID
		}
	}
	return of
}

// distinct is the node's name with so many characters of its id.
func (x Node) distinct(digits int) string {
	// A label has at most 63 characters: the id's are the ones that count.
	n := min(digits, len(x.ID))
	return x.Name[:min(len(x.Name), 62-n)] + "-" + x.ID[:n]
}
