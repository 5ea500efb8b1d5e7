package strength

import (
	"bytes"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/ccojocar/zxcvbn-go/data"
)

// own are the first words to try against a passphrase of ours.
var own = []string{"credant", "wireguard", "passphrase", "network"}

// assets are zxcvbn's lists, each most frequent first.
var assets = []string{
	"data/Passwords.json", "data/English.json", "data/Surnames.json",
	"data/MaleNames.json", "data/FemaleNames.json",
}

// maxWord bounds the substrings that are looked up; longer words are rare and
// made of shorter ones.
const maxWord = 24

// dictionaries finds words of the lists in runes, as they stand, reversed, and
// with l33t substitutions.
func dictionaries(runes []rune) []match {
	forms := spellings(runes)
	ranks := map[string]int{}
	for _, f := range forms {
		for i := range f.runes {
			for j := i + 1; j <= min(len(f.runes), i+maxWord); j++ {
				ranks[string(f.runes[i:j])] = 0
			}
		}
	}
	rankAll(ranks)

	var m []match
	for _, f := range forms {
		for i := range f.runes {
			for j := i + 1; j <= min(len(f.runes), i+maxWord); j++ {
				rank := ranks[string(f.runes[i:j])]
				if rank == 0 {
					continue
				}
				from, to := i, j
				if f.reversed {
					from, to = len(runes)-j, len(runes)-i
				}
				bits := math.Log2(float64(rank)) + capitals(runes[from:to]) + f.cost(runes[from:to])
				m = append(m, match{from, to, bits})
			}
		}
	}
	return m
}

// rankAll fills in the lowest rank that any list has for each key.
func rankAll(ranks map[string]int) {
	rank := func(w []byte, r int) {
		if old, ok := ranks[string(w)]; ok && (old == 0 || old > r) {
			ranks[string(w)] = r
		}
	}
	for i, w := range own {
		rank([]byte(w), i+1)
	}
	for _, name := range assets {
		b, err := data.Asset(name)
		if err != nil {
			panic("strength: read " + name + ": " + err.Error()) // linked in, so it is a defect
		}
		for i, w := range words(b) {
			rank(w, i+1)
		}
	}
}

// words yields the words of {"List": ["word", ...]}. No word has an escape, and
// decoding to strings would take ten times the memory.
func words(asset []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		quoted, i := false, 0
		for part := range bytes.SplitSeq(asset, []byte{'"'}) {
			// The first string is the key.
			if quoted {
				if i > 0 && !yield(i-1, part) {
					return
				}
				i++
			}
			quoted = !quoted
		}
	}
}

// A spelling is a lower-case reading of the whole passphrase.
type spelling struct {
	runes    []rune
	reversed bool
	leet     map[rune]rune
}

// leetTables are readings of digits and symbols as letters; where one stands
// for two, each table takes one.
var leetTables = []map[rune]rune{
	{'4': 'a', '@': 'a', '8': 'b', '(': 'c', '3': 'e', '6': 'g', '1': 'i', '!': 'i', '|': 'i', '0': 'o', '$': 's', '5': 's', '7': 't', '+': 't', '2': 'z'},
	{'4': 'a', '@': 'a', '8': 'b', '<': 'c', '3': 'e', '9': 'g', '1': 'l', '!': 'l', '|': 'l', '0': 'o', '$': 's', '5': 's', '7': 'l', '+': 't', '%': 'x', '2': 'z'},
}

func spellings(runes []rune) []spelling {
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	backwards := slices.Clone(lower)
	slices.Reverse(backwards)
	forms := []spelling{{runes: lower}, {runes: backwards, reversed: true}}
	for _, table := range leetTables {
		read := slices.Clone(lower)
		for i, r := range lower {
			if l, ok := table[r]; ok {
				read[i] = l
			}
		}
		if !slices.Equal(read, lower) {
			forms = append(forms, spelling{runes: read, leet: table})
		}
	}
	return forms
}

// cost is what the spelling adds to its word's rank.
func (f spelling) cost(word []rune) float64 {
	if f.reversed {
		return 1
	}
	bits := 0.0
	for i, r := range word {
		if _, ok := f.leet[r]; ok && !slices.Contains(word[:i], r) {
			bits++
		}
	}
	return bits
}

// capitals is what upper case adds: one bit for the obvious places, else the
// ways to choose as many.
func capitals(word []rune) float64 {
	upper, lower := 0, 0
	for _, r := range word {
		switch {
		case unicode.IsUpper(r):
			upper++
		case unicode.IsLower(r):
			lower++
		}
	}
	s := string(word)
	switch {
	case upper == 0:
		return 0
	case lower == 0,
		upper == 1 && unicode.IsUpper(word[0]),
		upper == 1 && strings.LastIndexFunc(s, unicode.IsUpper) == len(s)-1:
		return 1
	}
	ways := 0.0
	for k := 1; k <= min(upper, lower); k++ {
		ways += choose(upper+lower, k)
	}
	return math.Log2(math.Max(ways, 2))
}

func choose(n, k int) float64 {
	c := 1.0
	for i := range k {
		c = c * float64(n-i) / float64(i+1)
	}
	return c
}
