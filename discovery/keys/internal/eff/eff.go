// Package eff is the EFF long word list: 7,776 words, 12.9 bits each.
package eff

import (
	"iter"

	"github.com/sethvargo/go-diceware/diceware"
)

// Size is the number of words: five dice.
const Size = 6 * 6 * 6 * 6 * 6

// Word returns the i-th word of the list, which is in alphabetical order;
// 0 <= i < Size.
func Word(i int) string {
	roll := 0
	for place := 1; place <= 10000; place *= 10 {
		roll += (i%6 + 1) * place
		i /= 6
	}
	return diceware.WordListEffLarge().WordAt(roll)
}

// All yields every word with its index.
func All() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for i := range Size {
			if !yield(i, Word(i)) {
				return
			}
		}
	}
}

// Choose returns n random words, no two alike.
func Choose(n int) ([]string, error) { return diceware.Generate(n) }
