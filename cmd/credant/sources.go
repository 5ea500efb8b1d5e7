package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/credant/credant/control/localapi"
)

// sourceNames are the ways in which nodes are found, in the order in which
// they usually succeed, and what they search.
var sourceNames = []struct{ key, place string }{
	{"cache", "among the nodes met before"},
	{"lan", "on the local network"},
	{"static", "at the addresses given"},
	{"dht", "on the BitTorrent DHT"},
}

// searching says in a sentence what is being tried.
func searching(sources map[string]localapi.Source) string {
	var places []string
	for _, n := range sourceNames {
		switch s, ok := sources[n.key]; {
		case !ok || s.State == "off" || s.State == "waiting":
		case n.key == "cache" && s.Found == 0:
		default:
			places = append(places, n.place)
		}
	}
	switch len(places) {
	case 0:
		return "Nothing is being searched: every source is off. Give an address with --bootstrap, or leave --no-lan and --no-dht out."
	case 1:
		return "Looking " + places[0] + "."
	}
	return "Looking " + strings.Join(places[:len(places)-1], ", ") + " and " + places[len(places)-1] + "."
}

// writeSources shows each way of finding nodes on a line, and what hinders it
// beside it.
func writeSources(w io.Writer, sources map[string]localapi.Source, st style) {
	keys := make([]string, 0, len(sources))
	for _, n := range sourceNames {
		if _, ok := sources[n.key]; ok {
			keys = append(keys, n.key)
		}
	}
	for _, key := range sortedKeys(sources) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key) // a newer daemon's
		}
	}
	if len(keys) == 0 {
		return
	}
	const sourceWidth, stateWidth, foundWidth = 8, 9, 5
	head := padRight("SOURCE", sourceWidth) + gap + padRight("STATE", stateWidth) + gap + padLeft("FOUND", foundWidth) + gap
	fmt.Fprintln(w, st.dim(strings.TrimRight(head, " ")))
	for _, key := range keys {
		s := sources[key]
		name := padRight(shorten(printable(key), sourceWidth), sourceWidth) + gap
		state := padRight(shorten(printable(s.State), stateWidth), stateWidth)
		found := gap + padLeft(fmt.Sprint(s.Found), foundWidth) + gap
		if s.State == "off" {
			found = gap + padLeft("-", foundWidth) + gap
		}
		writeHanging(w, name+paintState(st, s.State, state)+found, name+state+found, sourceText(key, s))
	}
}

func paintState(st style, state, text string) string {
	switch state {
	case "working":
		return st.green(text)
	case "failing":
		return st.red(text)
	case "off":
		return st.dim(text)
	}
	return text
}

func sourceText(key string, s localapi.Source) string {
	if s.State == "failing" && s.LastError != "" {
		return s.LastError // what else there is to say of it is the same again
	}
	var parts []string
	if key == "dht" && s.State != "off" {
		if s.Nodes == 0 {
			parts = append(parts, "no node answers yet")
		} else {
			parts = append(parts, plural(s.Nodes, "node answers", "nodes answer"))
		}
	}
	if s.Detail != "" {
		parts = append(parts, s.Detail)
	}
	if s.LastError != "" {
		parts = append(parts, s.LastError)
	}
	return strings.Join(parts, "; ")
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), cmp.Compare[string])
}
