package strength

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ccojocar/zxcvbn-go/data"

	"github.com/credant/credant/discovery/keys/internal/eff"
)

func TestBits(t *testing.T) {
	tests := []struct {
		name, passphrase string
		low, high        float64
	}{
		{"empty", "", 0, 0},
		{"the most common password", "password", 0, 2},
		{"capitalised", "Password", 0, 3},
		{"l33t", "P4$$w0rd", 0, 7},
		{"reversed", "drowssap", 0, 3},
		{"with a year", "password1987", 5, 12},
		{"with a date", "dragon24121987", 8, 25},
		{"dotted date", "24.12.1987", 10, 20},
		{"keyboard walk", "qwertyuiop", 1, 12},
		{"German keyboard walk", "qwertzuiopü", 1, 20},
		{"keyboard walk down and up", "1qaz2wsx3edc", 5, 40},
		{"sequence", "abcdefghijklmnop", 3, 15},
		{"digits down", "98765432109876543210", 3, 25},
		{"one letter", strings.Repeat("a", 40), 2, 12},
		{"a block many times", strings.Repeat("hunter2", 12), 2, 20},
		{"very long and nothing", strings.Repeat("password", 128), 0, 13},
		{"our own name", "credant-network", 0, 12},
		{"two words", "horse battery", 10, 28},
		{"four words are too few", "correct horse battery staple", 35, 59},
		{"four EFF words", "catalyst-purple-gravity-unmoved", 51.6, 51.8},
		{"five EFF words", "catalyst-purple-gravity-unmoved-hamster", 64.6, 64.7},
		{"five EFF words, spaces", "catalyst purple gravity unmoved hamster", 64.6, 64.7},
		{"five EFF words, capitals, no separator", "CatalystPurpleGravityUnmovedHamster", 64.6, 64.7},
		{"EFF words with a hyphen of their own", "t-shirt-drop-down-yo-yo-felt-tip-abacus", 64.6, 64.7},
		{"six EFF words and a digit", "catalyst-purple-gravity-unmoved-hamster-zoom7", 77.5, 80},
		{"one EFF word over and over", "hamster-hamster-hamster-hamster-hamster-hamster", 12, 20},
		{"the EFF list in order", "abacus-abdomen-abdominal-abide-abiding-ability-ablaze", 20, 40},
		{"16 random letters and digits", "k7Qz0wPx3XwJr9Lb", 85, 96},
		{"12 random characters", "v#9Lq!x2Tz@7", 65, 80},
		{"128-bit key in hex", "9f86d081884c7d659a2feaa0c55ad015", 110, 170},
		{"another script", "гнедой-жираф-пишет-письмо", 60, 200},
		{"not UTF-8", "\xff\xfe", 0, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Bits(tt.passphrase)
			if math.IsNaN(got) || got < tt.low || got > tt.high {
				t.Errorf("Bits(%q) = %.1f, want %.1f to %.1f", tt.passphrase, got, tt.low, tt.high)
			}
		})
	}
}

// Six words of the dice are never refused, whatever a person puts between them.
func TestBitsDiceware(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 8 {
		words := make([]string, 6)
		for i := range words {
			words[i] = eff.Word(rng.IntN(eff.Size))
		}
		for _, sep := range []string{"-", " ", "", ".", "_", ", "} {
			p := strings.Join(words, sep)
			if got := Bits(p); got < 60 || got > 6*wordBits+12 {
				t.Errorf("seed %d: Bits(%q) = %.1f, want 60 to %.1f", seed, p, got, 6*wordBits+12)
			}
		}
	}
}

// Each further character of a random passphrase is worth something, save where
// chance makes a short word of it.
func TestBitsGrows(t *testing.T) {
	const random, chance = "k7Qz0wPx3XwJr9LbTt4GmYc8", 2
	last := 0.0
	for i := range random {
		got := Bits(random[:i+1])
		if got < last-chance {
			t.Errorf("Bits(%q) = %.1f, less than %.1f before its last character", random[:i+1], got, last)
		}
		last = got
	}
	if want := 6.0 * float64(len(random)) * 0.9; last < want {
		t.Errorf("Bits(%q) = %.1f, want at least %.1f", random, last, want)
	}
}

// The lists are read without a JSON parser, and say the same.
func TestWords(t *testing.T) {
	for _, name := range assets {
		b, err := data.Asset(name)
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ List []string }
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, w := range words(b) {
			if i != n || i >= len(want.List) || string(w) != want.List[i] {
				t.Fatalf("%s: word %d is %q at %d", name, n, w, i)
			}
			n++
		}
		if n == 0 || n != len(want.List) {
			t.Errorf("%s: %d words, want %d", name, n, len(want.List))
		}
	}
}

func FuzzBits(f *testing.F) {
	for _, s := range []string{"", "a", "password", "qwertz", "24.12.1987", "t-shirt-yo-yo", "\xff", "ａｂｃ", "İstanbul", "ßß", "1111111"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Bits(s); math.IsNaN(got) || math.IsInf(got, 0) || got < 0 || got > 1000 {
			t.Errorf("Bits(%q) = %v", s, got)
		}
	})
}

func BenchmarkBits(b *testing.B) {
	for b.Loop() {
		Bits("catalyst-purple-gravity-unmoved-hamster")
	}
}
