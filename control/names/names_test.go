package names

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	idA = "aaaaaaaaaaaaaaaa"
	idB = "aaaabbbbbbbbbbbb"
	idC = "cccccccccccccccc"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		held   map[string]string
		all    []Node
		want   map[string]Labels
		twice  string // a part of it
		passed int
	}{
		{
			name: "everybody has its own",
			all:  []Node{{ID: idA, Name: "desk", Self: true}, {ID: idC, Name: "nas", Aliases: []string{"git", "www"}}},
			want: map[string]Labels{
				idA: {Plain: "desk", Distinct: "desk-aaaa"},
				idC: {Plain: "nas", Distinct: "nas-cccc", Aliases: []string{"git", "www"}},
			},
		},
		{
			name: "a node without a name has its id",
			all:  []Node{{ID: idC}},
			want: map[string]Labels{idC: {}},
		},
		{
			name:  "two that were met at once: the lower id",
			all:   []Node{{ID: idC, Name: "nas"}, {ID: idB, Name: "nas"}},
			want:  map[string]Labels{idB: {Plain: "nas", Distinct: "nas-aaaa"}, idC: {Distinct: "nas-cccc"}},
			twice: "2 nodes ask for the name nas: here it means the one with the id " + idB + "; the other is found as nas-cccc",
		},
		{
			name:  "who was there first keeps it",
			held:  map[string]string{"nas": idC},
			all:   []Node{{ID: idC, Name: "nas"}, {ID: idA, Name: "nas"}},
			want:  map[string]Labels{idA: {Distinct: "nas-aaaa"}, idC: {Plain: "nas", Distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name:  "this host was there before all",
			all:   []Node{{ID: idA, Name: "nas"}, {ID: idC, Name: "nas", Self: true}},
			want:  map[string]Labels{idA: {Distinct: "nas-aaaa"}, idC: {Plain: "nas", Distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name: "ids that begin alike get longer",
			held: map[string]string{"nas": idA},
			all:  []Node{{ID: idA, Name: "nas"}, {ID: idB, Name: "nas"}},
			want: map[string]Labels{
				idA: {Plain: "nas", Distinct: "nas-aaaaa"}, idB: {Distinct: "nas-aaaab"},
			},
			twice: "ask for the name nas",
		},
		{
			name:  "a name beats an alias that nobody here knew before",
			all:   []Node{{ID: idA, Name: "desk", Aliases: []string{"nas"}}, {ID: idC, Name: "nas"}},
			want:  map[string]Labels{idA: {Plain: "desk", Distinct: "desk-aaaa"}, idC: {Plain: "nas", Distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name:  "an alias that was there first stays",
			held:  map[string]string{"git": idA},
			all:   []Node{{ID: idA, Name: "desk", Aliases: []string{"git"}}, {ID: idC, Name: "git"}},
			want:  map[string]Labels{idA: {Plain: "desk", Distinct: "desk-aaaa", Aliases: []string{"git"}}, idC: {Distinct: "git-cccc"}},
			twice: "the other is found as git-cccc",
		},
		{
			name:  "somebody's id is nobody else's name",
			all:   []Node{{ID: idA, Name: idC}, {ID: idC, Name: "nas"}},
			want:  map[string]Labels{idA: {Distinct: idC + "-aaaa"}, idC: {Plain: "nas", Distinct: "nas-cccc"}},
			twice: "the name " + idC + " is asked for, which tells another node apart by its id: who asks is found as " + idC + "-aaaa",
		},
		{
			name:  "two that ask for an id",
			all:   []Node{{ID: idA, Aliases: []string{idC}}, {ID: idB, Aliases: []string{idC}}, {ID: idC, Name: "nas"}},
			want:  map[string]Labels{idA: {}, idB: {}, idC: {Plain: "nas", Distinct: "nas-cccc"}},
			twice: "who asks is found as " + idA + ", " + idB,
		},
		{
			name: "what tells a node apart is no newcomer's name",
			held: map[string]string{"nas": idC},
			all:  []Node{{ID: idA, Name: "nas-cccc", Aliases: []string{"nas-ccccc"}}, {ID: idC, Name: "nas"}},
			want: map[string]Labels{
				idA: {Distinct: "nas-cccc-aaaa", Aliases: []string{"nas-ccccc"}}, idC: {Plain: "nas", Distinct: "nas-cccc"},
			},
			twice: "the name nas-cccc is asked for",
		},
		{
			name: "who had it before keeps it",
			held: map[string]string{"nas-cccc": idA},
			all:  []Node{{ID: idA, Name: "nas-cccc"}, {ID: idC, Name: "nas"}},
			want: map[string]Labels{idA: {Plain: "nas-cccc", Distinct: "nas-cccc-aaaa"}, idC: {Plain: "nas", Distinct: "nas-ccccc"}},
		},
		{
			name: "a distinct label that somebody has as its name gets longer",
			all:  []Node{{ID: idA, Name: "nas-cccc", Self: true}, {ID: idC, Name: "nas"}},
			want: map[string]Labels{idA: {Plain: "nas-cccc", Distinct: "nas-cccc-aaaa"}, idC: {Plain: "nas", Distinct: "nas-ccccc"}},
		},
		{
			name:   "who asks no more has it no more",
			held:   map[string]string{"nas": idC},
			all:    []Node{{ID: idA, Name: "nas"}, {ID: idC, Name: "old"}},
			want:   map[string]Labels{idA: {Plain: "nas", Distinct: "nas-aaaa"}, idC: {Plain: "old", Distinct: "old-cccc"}},
			passed: 1,
		},
		{
			name: "a node's own name as its alias is one name",
			all:  []Node{{ID: idA, Name: "desk", Aliases: []string{"desk"}}},
			want: map[string]Labels{idA: {Plain: "desk", Distinct: "desk-aaaa"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := New(c.held)
			changed, twice, passed := n.Review(c.all)
			if diff := cmp.Diff(c.want, n.of); diff != "" {
				t.Error(diff)
			}
			if !changed || !strings.Contains(twice, c.twice) || c.twice == "" && twice != "" || len(passed) != c.passed {
				t.Errorf("changed %v, twice %q, passed %q", changed, twice, passed)
			}
			if changed, _, passed = n.Review(c.all); changed || len(passed) != 0 {
				t.Errorf("the same again: changed %v, passed %q", changed, passed)
			}
		})
	}
}

// Whatever nodes ask for, no label leads to two of them, an id never leads to
// another node, and a holder keeps its label for as long as it asks for it.
func TestNamesRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var n Table
		ids := make([]string, 12)
		for i := range ids { // few letters, so that much begins alike
			b := make([]byte, 16)
			for j := range b {
				b[j] = "ab"[r.IntN(2)]
			}
			ids[i] = string(b)
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		asks := []string{"nas", "desk", "nas-aaaa", "nas-abab", ids[0], strings.Repeat("x", 63), ""}
		var before map[string]string
		for range 8 {
			var all []Node
			for i, id := range ids {
				if r.IntN(4) == 0 {
					continue
				}
				x := Node{ID: id, Name: asks[r.IntN(len(asks))], Self: i == 3}
				for range r.IntN(3) {
					if a := asks[r.IntN(len(asks)-1)]; a != "" {
						x.Aliases = append(x.Aliases, a)
					}
				}
				all = append(all, x)
			}
			n.Review(all)
			leads := map[string]string{}
			for id, l := range n.of {
				for _, label := range append([]string{l.Plain, l.Distinct}, l.Aliases...) {
					if label == "" {
						continue
					}
					if other, ok := leads[label]; ok && other != id {
						t.Fatalf("%s leads to %s and %s", label, id, other)
					}
					leads[label] = id
					if len(label) > 63 {
						t.Fatalf("the label %s is too long", label)
					}
				}
			}
			for _, x := range all {
				if x.Name != "" && n.of[x.ID].Best("") == "" {
					t.Fatalf("%v has no label: %v", x, n.of[x.ID])
				}
				for label, id := range leads {
					if label == x.ID && id != x.ID {
						t.Fatalf("the id %s leads to %s", label, id)
					}
				}
				if x.Name != "" && before[x.Name] == x.ID && n.held[x.Name] != x.ID && n.held[x.Name] != "" {
					t.Fatalf("%s was taken from %s", x.Name, x.ID)
				}
			}
			before = n.held
		}
	}
}

// A label that tells a node apart stays its own whatever comes later, a longer one
// as well, and is free once the node has another name.
func TestDistinctStays(t *testing.T) {
	var n Table
	nas, other := Node{ID: idA, Name: "nas"}, Node{ID: idB, Name: "nas"}
	n.Review([]Node{nas, other})
	for _, label := range []string{n.of[idA].Distinct, n.of[idB].Distinct} {
		if len(label) != len("nas-aaaaa") {
			t.Fatalf("told apart as %s", label)
		}
		thief := Node{ID: idC, Name: label}
		if _, twice, _ := n.Review([]Node{nas, other, thief}); n.of[idC].Plain != "" || twice == "" {
			t.Errorf("%s is another's: %+v, %q", label, n.of, twice)
		}
	}
	renamed := Node{ID: idB, Name: "disk"}
	n.Review([]Node{nas, renamed, {ID: idC, Name: "nas-aaaab"}})
	if n.of[idC].Plain != "nas-aaaab" {
		t.Errorf("nobody has it, and nobody can: %+v", n.of)
	}
}

func BenchmarkNames(b *testing.B) {
	for _, size := range []int{10, 4096} {
		b.Run(fmt.Sprintf("nodes=%d", size), func(b *testing.B) {
			var all []Node
			for i := range size {
				all = append(all, Node{ID: fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15), Name: fmt.Sprintf("node%d", i/2)})
			}
			var n Table
			for b.Loop() {
				n.Review(all)
			}
		})
	}
}
