// Package eff is the EFF long word list: 7,776 words, 12.9 bits each.
package eff

import (
	"crypto/rand"
	"math/big"

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

// Random returns a word, each with the same probability.
func Random() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(Size))
	if err != nil {
		return "", err
	}
	return Word(int(n.Int64())), nil
}
