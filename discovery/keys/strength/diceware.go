package strength

import (
	"math"
	"unicode"

	"github.com/credant/credant/discovery/keys/internal/eff"
)

const (
	// minWords is from how many words on a phrase is taken for the dice's.
	minWords = 3
	// longestWord of the EFF list is "urologist" and its like.
	longestWord = 9
	// extraBits is for a digit or symbol that is not the phrase's separator.
	extraBits = 2
)

var wordBits = math.Log2(eff.Size)

// diceware reads runes as words of the EFF long list with any separator or
// none, in any case. It returns the number of words, 0 where anything else is
// in it, and what they are worth.
func diceware(runes []rune) (words int, bits float64) {
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	indexes, extra := splitWords(lower, wordsIn(lower))
	if len(indexes) == 0 {
		return 0, 0
	}
	bits = extra
	seen := map[int]bool{}
	for i, w := range indexes {
		switch {
		case seen[w]:
			bits += math.Log2(float64(len(seen)))
		case i >= 2 && w-indexes[i-1] == indexes[i-1]-indexes[i-2] && abs(w-indexes[i-1]) <= 6:
			// The list read out in order.
			bits++
		default:
			bits += wordBits
		}
		seen[w] = true
	}
	return len(indexes), bits
}

func abs(i int) int { return max(i, -i) }

// wordsIn returns the index of each EFF word that occurs in runes.
func wordsIn(runes []rune) map[string]int {
	found := map[string]int{}
	for i := range runes {
		for j := i + 3; j <= min(len(runes), i+longestWord); j++ {
			found[string(runes[i:j])] = -1
		}
	}
	for i, w := range eff.All() {
		if _, ok := found[w]; ok {
			found[w] = i
		}
	}
	for s, i := range found {
		if i < 0 {
			delete(found, s)
		}
	}
	return found
}

// splitWords covers runes by words and by runes that are no letters: the first
// of these is the separator and free, others are extra. It takes the cheapest
// cover, which has the fewest words, or none.
func splitWords(runes []rune, index map[string]int) (words []int, extra float64) {
	separator := rune(-1)
	for _, r := range runes {
		if !unicode.IsLetter(r) {
			separator = r
			break
		}
	}
	type step struct {
		cost, extra float64
		from, word  int
	}
	best := make([]step, len(runes)+1)
	for j := 1; j <= len(runes); j++ {
		best[j].cost = math.Inf(1)
		if r := runes[j-1]; !unicode.IsLetter(r) {
			prev, cost := best[j-1], 0.0
			if r != separator {
				cost = extraBits
			}
			best[j] = step{prev.cost + cost, prev.extra + cost, j - 1, -1}
		}
		for i := max(0, j-longestWord); i <= j-3; i++ {
			w, ok := index[string(runes[i:j])]
			if ok && best[i].cost+wordBits < best[j].cost {
				best[j] = step{best[i].cost + wordBits, best[i].extra, i, w}
			}
		}
	}
	end := best[len(runes)]
	if math.IsInf(end.cost, 1) {
		return nil, 0
	}
	for j := len(runes); j > 0; j = best[j].from {
		if best[j].word >= 0 {
			words = append(words, best[j].word)
		}
	}
	return words, end.extra
}
