package cli

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	words := []string{"status", "nas", "nas-2", "printer", "office-printer", "up"}
	tests := []struct {
		word string
		want []string
	}{
		{"staus", []string{"status"}},
		{"sttaus", []string{"status"}},
		{"nsa", []string{"nas"}},
		{"NAS", []string{"nas", "nas-2"}},
		{"prin", []string{"printer", "office-printer"}},
		{"pu", []string{"up"}},
		{"x", nil},
		{"", nil},
		{"something-else", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Nearest(tt.word, words)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.word, diff)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("node-%d", i))
	}
	if got := Nearest("node", many); len(got) != 5 {
		t.Errorf("%d words of a hundred: %v", len(got), got)
	}
}
