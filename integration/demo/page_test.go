package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrap(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      {""},
		"one":                   {"one"},
		"one two three":         {"one two", "three"},
		"fits just so much":     {"fits", "just so", "much"},
		"incomprehensibly long": {"incomprehensibly", "long"},
	} {
		if diff := cmp.Diff(want, wrap(text, 8)); diff != "" {
			t.Errorf("wrap %q (-want +got):\n%s", text, diff)
		}
	}
}
