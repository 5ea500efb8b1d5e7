package eff

import "testing"

func TestList(t *testing.T) {
	// https://www.eff.org/files/2016/07/18/eff_large_wordlist.txt
	for i, want := range map[int]string{0: "abacus", 1: "abdomen", 6: "ablaze", Size / 2: "mastiff", Size - 1: "zoom"} {
		if got := Word(i); got != want {
			t.Errorf("Word(%d) = %q, want %q", i, got, want)
		}
	}
	last, n := "", 0
	for i, w := range All() {
		if i != n || len(w) < 3 {
			t.Fatalf("word %d of %d is %q", i, n, w)
		}
		// "yo-yo" and "yoyo" style neighbours aside, the order is alphabetical.
		if last >= w {
			t.Logf("%q does not come after %q", w, last)
		}
		last, n = w, n+1
	}
	if n != Size {
		t.Errorf("%d words, want %d", n, Size)
	}
}
