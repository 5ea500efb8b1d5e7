package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const relayKey = "xhlffq25rvja5th2t3rfm6q7sfihslw4ocyw667ve75unewfedma"

func TestParseRelay(t *testing.T) {
	for s, want := range map[string]string{
		"relay.example.org:4000#" + relayKey: "relay.example.org:4000#" + relayKey,
		"relay.example.org#" + relayKey:      "relay.example.org:3478#" + relayKey,
		"relay.example.org:4000":             "relay.example.org:4000", // whoever answers
		"relay.example.org":                  "relay.example.org:3478",
		"203.0.113.5":                        "203.0.113.5:3478",
		"[2001:db8::5]":                      "[2001:db8::5]:3478",
		"[2001:DB8::5]:4000#" + relayKey:     "[2001:db8::5]:4000#" + relayKey,
	} {
		if got, err := parseRelay(s); err != nil || got != want {
			t.Errorf("parseRelay(%q) = %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestDistinctRelays(t *testing.T) {
	got, err := distinctRelays([]string{"a:1#" + relayKey, "b:1", "a:1#" + relayKey, "a:2", "b:1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a:1#" + relayKey, "b:1", "a:2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := distinctRelays([]string{"a.example:1", "A.example:1#" + relayKey}); err == nil {
		t.Errorf("one relay with and without a key: %v", got)
	}
}
