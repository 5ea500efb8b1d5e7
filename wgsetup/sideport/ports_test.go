package sideport

import (
	"math/rand/v2"
	"testing"
)

func TestRandomPortAvoidsWhatOthersGet(t *testing.T) {
	tests := map[string]struct {
		ephemeral, reserved string
		ok                  func(port uint16) bool
	}{
		"defaults":      {"32768\t60999\n", "\n", func(p uint16) bool { return p >= 10000 && p < 32768 || p > 60999 }},
		"unreadable":    {"", "", func(p uint16) bool { return p >= 10000 && p < 32768 || p > 60999 }},
		"reserved":      {"32768 60999", "10000-30000,61000-65535,31000", func(p uint16) bool { return p > 30000 && p < 32768 && p != 31000 }},
		"all ephemeral": {"1024 65535", "", func(p uint16) bool { return p >= 10000 }},
		"garbage":       {"x y", "a-b,,-5,70000-80000", func(p uint16) bool { return p >= 10000 && p < 32768 || p > 60999 }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := make(map[uint16]bool)
			for range 2000 {
				p := randomPort(test.ephemeral, test.reserved, rand.IntN)
				if !test.ok(p) {
					t.Fatalf("port %d", p)
				}
				seen[p] = true
			}
			if len(seen) < 500 {
				t.Errorf("only %d different ports", len(seen))
			}
		})
	}
}
