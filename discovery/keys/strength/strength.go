package strength

import (
	"math"
	"unicode"
)

// maxRunes is how much of a passphrase is looked at. What follows could only
// add, and 128 runes that are worth under 60 bits are a pattern anyway.
const maxRunes = 128

// Bits estimates the entropy of a passphrase: 0 for an empty one. It is a lower
// bound in spirit, not in proof: it cannot know what its author finds obvious.
func Bits(passphrase string) float64 {
	runes := []rune(passphrase)
	if len(runes) > maxRunes {
		runes = runes[:maxRunes]
	}
	if len(runes) == 0 {
		return 0
	}
	covered := cover(runes, patterns(runes))
	words, bits := diceware(runes)
	switch {
	case words == 0:
		return covered
	case words < minWords:
		// Two words are as likely a person's as the dice's.
		return math.Min(covered, bits)
	}
	return bits
}

// A match is a pattern found in runes[i:j].
type match struct {
	i, j int
	bits float64
}

// patterns finds every match of every kind.
func patterns(runes []rune) []match {
	var m []match
	m = append(m, dictionaries(runes)...)
	m = append(m, walks(runes)...)
	m = append(m, sequences(runes)...)
	m = append(m, dates(runes)...)
	m = append(m, separators(runes)...)
	// A block that repeats is worth what the block is worth by the others.
	return append(m, repeats(runes, m)...)
}

// cover is the cost of the cheapest way to guess runes by matches and brute
// force.
func cover(runes []rune, matches []match) float64 {
	force := bruteForce(runes)
	ending := make([][]match, len(runes)+1)
	for _, m := range matches {
		ending[m.j] = append(ending[m.j], m)
	}
	best := make([]float64, len(runes)+1)
	for j := 1; j <= len(runes); j++ {
		best[j] = best[j-1] + force
		for _, m := range ending[j] {
			best[j] = math.Min(best[j], best[m.i]+m.bits)
		}
	}
	return best[len(runes)]
}

// bruteForce is the cost of a rune that no pattern covers: the bits of the
// character classes in use.
func bruteForce(runes []rune) float64 {
	var lower, upper, digit, symbol, other float64
	for _, r := range runes {
		switch {
		case r >= 'a' && r <= 'z':
			lower = 26
		case r >= 'A' && r <= 'Z':
			upper = 26
		case r >= '0' && r <= '9':
			digit = 10
		case r <= unicode.MaxASCII:
			symbol = 33
		default:
			other = 100 // the letters of one more script, as zxcvbn has it
		}
	}
	return math.Log2(lower + upper + digit + symbol + other)
}
