package control

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
		all    []named
		want   map[string]labels
		twice  string // a part of it
		passed int
	}{
		{
			name: "everybody has its own",
			all:  []named{{id: idA, name: "desk", self: true}, {id: idC, name: "nas", aliases: []string{"git", "www"}}},
			want: map[string]labels{
				idA: {plain: "desk", distinct: "desk-aaaa"},
				idC: {plain: "nas", distinct: "nas-cccc", aliases: []string{"git", "www"}},
			},
		},
		{
			name: "a node without a name has its id",
			all:  []named{{id: idC}},
			want: map[string]labels{idC: {}},
		},
		{
			name:  "two that were met at once: the lower id",
			all:   []named{{id: idC, name: "nas"}, {id: idB, name: "nas"}},
			want:  map[string]labels{idB: {plain: "nas", distinct: "nas-aaaa"}, idC: {distinct: "nas-cccc"}},
			twice: "2 nodes ask for the name nas: here it means the one with the id " + idB + "; the other is found as nas-cccc",
		},
		{
			name:  "who was there first keeps it",
			held:  map[string]string{"nas": idC},
			all:   []named{{id: idC, name: "nas"}, {id: idA, name: "nas"}},
			want:  map[string]labels{idA: {distinct: "nas-aaaa"}, idC: {plain: "nas", distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name:  "this host was there before all",
			all:   []named{{id: idA, name: "nas"}, {id: idC, name: "nas", self: true}},
			want:  map[string]labels{idA: {distinct: "nas-aaaa"}, idC: {plain: "nas", distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name: "ids that begin alike get longer",
			held: map[string]string{"nas": idA},
			all:  []named{{id: idA, name: "nas"}, {id: idB, name: "nas"}},
			want: map[string]labels{
				idA: {plain: "nas", distinct: "nas-aaaaa"}, idB: {distinct: "nas-aaaab"},
			},
			twice: "ask for the name nas",
		},
		{
			name:  "a name beats an alias that nobody here knew before",
			all:   []named{{id: idA, name: "desk", aliases: []string{"nas"}}, {id: idC, name: "nas"}},
			want:  map[string]labels{idA: {plain: "desk", distinct: "desk-aaaa"}, idC: {plain: "nas", distinct: "nas-cccc"}},
			twice: "ask for the name nas",
		},
		{
			name:  "an alias that was there first stays",
			held:  map[string]string{"git": idA},
			all:   []named{{id: idA, name: "desk", aliases: []string{"git"}}, {id: idC, name: "git"}},
			want:  map[string]labels{idA: {plain: "desk", distinct: "desk-aaaa", aliases: []string{"git"}}, idC: {distinct: "git-cccc"}},
			twice: "the other is found as git-cccc",
		},
		{
			name:  "somebody's id is nobody else's name",
			all:   []named{{id: idA, name: idC}, {id: idC, name: "nas"}},
			want:  map[string]labels{idA: {distinct: idC + "-aaaa"}, idC: {plain: "nas", distinct: "nas-cccc"}},
			twice: "the name " + idC + " is asked for, which tells another node apart by its id: who asks is found as " + idC + "-aaaa",
		},
		{
			name:  "two that ask for an id",
			all:   []named{{id: idA, aliases: []string{idC}}, {id: idB, aliases: []string{idC}}, {id: idC, name: "nas"}},
			want:  map[string]labels{idA: {}, idB: {}, idC: {plain: "nas", distinct: "nas-cccc"}},
			twice: "who asks is found as " + idA + ", " + idB,
		},
		{
			name: "what tells a node apart is no newcomer's name",
			held: map[string]string{"nas": idC},
			all:  []named{{id: idA, name: "nas-cccc", aliases: []string{"nas-ccccc"}}, {id: idC, name: "nas"}},
			want: map[string]labels{
				idA: {distinct: "nas-cccc-aaaa", aliases: []string{"nas-ccccc"}}, idC: {plain: "nas", distinct: "nas-cccc"},
			},
			twice: "the name nas-cccc is asked for",
		},
		{
			name: "who had it before keeps it",
			held: map[string]string{"nas-cccc": idA},
			all:  []named{{id: idA, name: "nas-cccc"}, {id: idC, name: "nas"}},
			want: map[string]labels{idA: {plain: "nas-cccc", distinct: "nas-cccc-aaaa"}, idC: {plain: "nas", distinct: "nas-ccccc"}},
		},
		{
			name: "a distinct label that somebody has as its name gets longer",
			all:  []named{{id: idA, name: "nas-cccc", self: true}, {id: idC, name: "nas"}},
			want: map[string]labels{idA: {plain: "nas-cccc", distinct: "nas-cccc-aaaa"}, idC: {plain: "nas", distinct: "nas-ccccc"}},
		},
		{
			name:   "who asks no more has it no more",
			held:   map[string]string{"nas": idC},
			all:    []named{{id: idA, name: "nas"}, {id: idC, name: "old"}},
			want:   map[string]labels{idA: {plain: "nas", distinct: "nas-aaaa"}, idC: {plain: "old", distinct: "old-cccc"}},
			passed: 1,
		},
		{
			name: "a node's own name as its alias is one name",
			all:  []named{{id: idA, name: "desk", aliases: []string{"desk"}}},
			want: map[string]labels{idA: {plain: "desk", distinct: "desk-aaaa"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := names{held: c.held}
			changed, twice, passed := n.review(c.all)
			if diff := cmp.Diff(c.want, n.of, cmp.AllowUnexported(labels{})); diff != "" {
				t.Error(diff)
			}
			if !changed || !strings.Contains(twice, c.twice) || c.twice == "" && twice != "" || len(passed) != c.passed {
				t.Errorf("changed %v, twice %q, passed %q", changed, twice, passed)
			}
			if changed, _, passed = n.review(c.all); changed || len(passed) != 0 {
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
		var n names
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
			var all []named
			for i, id := range ids {
				if r.IntN(4) == 0 {
					continue
				}
				x := named{id: id, name: asks[r.IntN(len(asks))], self: i == 3}
				for range r.IntN(3) {
					if a := asks[r.IntN(len(asks)-1)]; a != "" {
						x.aliases = append(x.aliases, a)
					}
				}
				all = append(all, x)
			}
			n.review(all)
			leads := map[string]string{}
			for id, l := range n.of {
				for _, label := range append([]string{l.plain, l.distinct}, l.aliases...) {
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
				if x.name != "" && n.of[x.id].best("") == "" {
					t.Fatalf("%v has no label: %v", x, n.of[x.id])
				}
				for label, id := range leads {
					if label == x.id && id != x.id {
						t.Fatalf("the id %s leads to %s", label, id)
					}
				}
				if x.name != "" && before[x.name] == x.id && n.held[x.name] != x.id && n.held[x.name] != "" {
					t.Fatalf("%s was taken from %s", x.name, x.id)
				}
			}
			before = n.held
		}
	}
}

// A label that tells a node apart stays its own whatever comes later, a longer one
// as well, and is free once the node has another name.
func TestDistinctStays(t *testing.T) {
	var n names
	nas, other := named{id: idA, name: "nas"}, named{id: idB, name: "nas"}
	n.review([]named{nas, other})
	for _, label := range []string{n.of[idA].distinct, n.of[idB].distinct} {
		if len(label) != len("nas-aaaaa") {
			t.Fatalf("told apart as %s", label)
		}
		thief := named{id: idC, name: label}
		if _, twice, _ := n.review([]named{nas, other, thief}); n.of[idC].plain != "" || twice == "" {
			t.Errorf("%s is another's: %+v, %q", label, n.of, twice)
		}
	}
	renamed := named{id: idB, name: "disk"}
	n.review([]named{nas, renamed, {id: idC, name: "nas-aaaab"}})
	if n.of[idC].plain != "nas-aaaab" {
		t.Errorf("nobody has it, and nobody can: %+v", n.of)
	}
}

func BenchmarkNames(b *testing.B) {
	for _, size := range []int{10, 4096} {
		b.Run(fmt.Sprintf("nodes=%d", size), func(b *testing.B) {
			var all []named
			for i := range size {
				all = append(all, named{id: fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15), name: fmt.Sprintf("node%d", i/2)})
			}
			var n names
			for b.Loop() {
				n.review(all)
			}
		})
	}
}
