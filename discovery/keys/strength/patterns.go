package strength

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// keyboards are rows of keys; a key's neighbours are the keys beside it, and in
// the rows above and below those that are at most one column off.
var keyboards = [][]string{
	{"`1234567890-=", "\tqwertyuiop[]\\", "\tasdfghjkl;'", "\tzxcvbnm,./"},
	{"^1234567890ß´", "\tqwertzuiopü+", "\tasdfghjklöä#", "\tyxcvbnm,.-"},
	{"²1234567890)=", "\tazertyuiop^$", "\tqsdfghjklmù*", "\twxcvbn,;:!"},
	{"`1234567890[]", "\t',.pyfgcrl/=\\", "\taoeuidhtns-", "\t;qjkxbmwvz"},
	{"789", "456", "123", "\t0"},
}

const (
	minWalk  = 4
	walkKeys = 47 // where a walk may start
	walkWays = 6  // where it may turn
)

// walks finds runs over neighbouring keys of one keyboard.
func walks(runes []rune) []match {
	var m []match
	for _, keys := range keyboards {
		for i := 0; i < len(runes); {
			j, turns := i+1, 0
			last := [2]int{}
			for ; j < len(runes); j++ {
				d, ok := step(keys, runes[j-1], runes[j])
				if !ok {
					break
				}
				if d != last || j == i+1 {
					turns++
				}
				last = d
			}
			if n := j - i; n >= minWalk {
				m = append(m, match{i, j, walkBits(n, turns) + capitals(runes[i:j])})
			}
			i = max(j-1, i+1)
		}
	}
	return m
}

// walkBits counts the walks of at most n keys and as many turns.
func walkBits(n, turns int) float64 {
	ways := 0.0
	for length := 2; length <= n; length++ {
		for t := 1; t <= min(turns, length-1); t++ {
			ways += choose(length-1, t-1) * walkKeys * math.Pow(walkWays, float64(t))
		}
	}
	return math.Log2(ways)
}

// step is the direction from key a to its neighbour b.
func step(keys []string, a, b rune) (d [2]int, ok bool) {
	ra, ca, okA := position(keys, a)
	rb, cb, okB := position(keys, b)
	d = [2]int{rb - ra, cb - ca}
	return d, okA && okB && d != [2]int{} && abs(d[0]) <= 1 && abs(d[1]) <= 1
}

func position(keys []string, key rune) (row, column int, ok bool) {
	key = unicode.ToLower(key)
	for row, line := range keys {
		if column := slices.Index([]rune(line), key); column >= 0 {
			return row, column, true
		}
	}
	return 0, 0, false
}

// sequences finds runs of code points with one step between them: abcd, 9753.
func sequences(runes []rune) []match {
	var m []match
	for i := 0; i+2 < len(runes); {
		d := runes[i+1] - runes[i]
		j := i + 2
		for j < len(runes) && runes[j]-runes[j-1] == d {
			j++
		}
		if n := j - i; n >= 3 && d != 0 && abs(int(d)) <= 5 {
			// Where it starts, which way and how far it goes.
			m = append(m, match{i, j, math.Log2(26) + 2 + math.Log2(float64(n))})
		}
		i = j - 1
	}
	return m
}

// repeats finds a block that is written several times over.
func repeats(runes []rune, matches []match) []match {
	var m []match
	for i := range runes {
		for size := 1; i+2*size <= len(runes); size++ {
			j := i + size
			for j+size <= len(runes) && slices.Equal(runes[i:i+size], runes[j:j+size]) {
				j += size
			}
			if times := (j - i) / size; times > 1 && j-i > 2 {
				m = append(m, match{i, j, blockBits(runes, i, i+size, matches) + math.Log2(float64(times))})
			}
		}
	}
	return m
}

func blockBits(runes []rune, i, j int, matches []match) float64 {
	var inside []match
	for _, m := range matches {
		if m.i >= i && m.j <= j {
			inside = append(inside, match{m.i - i, m.j - i, m.bits})
		}
	}
	return cover(runes[i:j], inside)
}

// separators finds the symbol that stands between words more than once: after
// the first, the next ones are no news.
func separators(runes []rune) []match {
	var m []match
	seen := map[rune]bool{}
	for i := 1; i+1 < len(runes); i++ {
		r := runes[i]
		if unicode.IsLetter(r) || unicode.IsDigit(r) || !unicode.IsLetter(runes[i-1]) || !unicode.IsLetter(runes[i+1]) {
			continue
		}
		if seen[r] {
			m = append(m, match{i, i + 1, 1})
		}
		seen[r] = true
	}
	return m
}

const (
	years    = 119 // 1900 to 2018 and their like: nobody writes another
	yearBits = 6.9 // log2(years)
	dateBits = yearBits + 8.6
)

// dates finds years and dates of six to eight digits, with or without
// separators.
func dates(runes []rune) []match {
	var m []match
	for i := range runes {
		for j := i + 4; j <= min(len(runes), i+10); j++ {
			s := string(runes[i:j])
			switch digits := strings.Map(digitsOnly, s); {
			case j-i == 4 && digits == s && (s[:2] == "19" || s[:2] == "20"):
				m = append(m, match{i, j, yearBits})
			case isDate(digits) && digits == s:
				m = append(m, match{i, j, dateBits})
			case isDate(digits) && isSeparated(s):
				m = append(m, match{i, j, dateBits + 2})
			}
		}
	}
	return m
}

func digitsOnly(r rune) rune {
	if r < '0' || r > '9' {
		return -1
	}
	return r
}

// isSeparated reports whether s is three groups of digits with one separator.
func isSeparated(s string) bool {
	for _, sep := range []string{"-", "/", ".", " ", "_"} {
		groups := strings.Split(s, sep)
		if len(groups) == 3 && !slices.Contains(groups, "") && len(strings.Join(groups, "")) == len(strings.Map(digitsOnly, s)) {
			return true
		}
	}
	return false
}

// isDate reads digits as day, month and year in the orders in use.
func isDate(digits string) bool {
	year4 := func(y string) bool { return y[:2] == "19" || y[:2] == "20" }
	dayMonth := func(s string) bool {
		a, b := number(s[:2]), number(s[2:])
		return min(a, b) >= 1 && min(a, b) <= 12 && max(a, b) <= 31
	}
	switch len(digits) {
	case 6:
		return dayMonth(digits[:4]) || dayMonth(digits[2:])
	case 8:
		return dayMonth(digits[:4]) && year4(digits[4:]) || year4(digits[:4]) && dayMonth(digits[4:])
	}
	return false
}

func number(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }
