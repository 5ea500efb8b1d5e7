package sideport

import "testing"

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
			ports := unclaimedPorts(test.ephemeral, test.reserved)
			for i, p := range ports {
				if !test.ok(p) || i > 0 && p <= ports[i-1] {
					t.Fatalf("port %d", p)
				}
			}
			if len(ports) < 500 {
				t.Errorf("only %d different ports", len(ports))
			}
		})
	}
}

func TestRandomPorts(t *testing.T) {
	seen := make(map[uint16]bool)
	for _, p := range RandomPorts(256) {
		seen[p] = true
	}
	if len(seen) != 256 {
		t.Errorf("%d different ports, not 256", len(seen))
	}
	for range 100 {
		seen[RandomPort()] = true
	}
	if len(seen) < 300 {
		t.Error("the same ports again and again")
	}
	if n := len(RandomPorts(1 << 16)); n > 1<<16-lowestPort {
		t.Errorf("%d ports", n)
	}
}
