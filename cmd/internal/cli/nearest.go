package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Nearest returns the words that a person may have meant by word, best first:
// those that begin with it or contain it, and those a typo or two away.
func Nearest(word string, words []string) []string {
	const atMost = 5
	type match struct {
		word string
		far  int
	}
	word = strings.ToLower(word)
	var found []match
	for _, w := range words {
		lower := strings.ToLower(w)
		far := distance(word, lower)
		switch {
		case word != "" && strings.HasPrefix(lower, word):
			far = 0
		case len(word) >= 3 && strings.Contains(lower, word):
			far = 1
		case far > 2 || far >= len(word):
			continue
		}
		found = append(found, match{w, far})
	}
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.far, b.far), strings.Compare(a.word, b.word))
	})
	var out []string
	for _, m := range found[:min(len(found), atMost)] {
		out = append(out, m.word)
	}
	return out
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}

// DidYouMean asks whether one of the words was meant. Without words it is
// empty, else it begins with a space.
func DidYouMean(words []string) string {
	if len(words) == 0 {
		return ""
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return " (did you mean " + strings.Join(quoted, " or ") + "?)"
}
