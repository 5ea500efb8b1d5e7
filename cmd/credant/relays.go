package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/credant/credant/control/localapi"
)

// writeRelays shows the relays that are used, or asked, a line each.
func writeRelays(w io.Writer, relays []localapi.Relay, st style, verbose bool) {
	var shown []localapi.Relay
	addresses := len("RELAY")
	for _, r := range relays {
		if verbose || r.State != "unused" {
			shown = append(shown, r)
			addresses = max(addresses, min(endpointWidth, utf8.RuneCountInString(r.Address)))
		}
	}
	if len(shown) == 0 {
		return
	}
	const stateWidth = len("leaving")
	fmt.Fprintln(w)
	fmt.Fprintln(w, st.dim(padRight("RELAY", addresses)+gap+padRight("STATE", stateWidth)+gap+padLeft("RTT", rttWidth)+gap+"USE"))
	for _, r := range shown {
		rtt := "-"
		if r.RTTMillis != nil {
			rtt = millis(*r.RTTMillis)
		}
		address := printable(r.Address)
		if utf8.RuneCountInString(address) > addresses {
			fmt.Fprintln(w, address)
			address = ""
		}
		name := padRight(address, addresses) + gap
		state := padRight(shorten(printable(r.State), stateWidth), stateWidth)
		rest := gap + padLeft(rtt, rttWidth) + gap
		writeHanging(w, name+paintRelay(st, r.State, state)+rest, name+state+rest, relayUse(r))
	}
}

func paintRelay(st style, state, text string) string {
	switch state {
	case "up":
		return st.green(text)
	case "down":
		return st.red(text)
	case "leaving", "asking":
		return st.yellow(text)
	}
	return text
}

// relayUse says whose the relay is and what for it is used.
func relayUse(r localapi.Relay) string {
	whose := map[string]string{
		"own": "yours", "network": "this network's", "member": "a member's", "public": "everyone's",
	}[r.Class]
	if whose == "" {
		whose = printable(r.Class)
	}
	parts := []string{whose}
	if r.Home {
		parts = append(parts, "meets "+plural(r.Members, "node", "nodes"))
	}
	if r.Pairs > 0 {
		parts = append(parts, "relays to "+plural(r.Pairs, "node", "nodes"))
	}
	if r.LastError != "" {
		parts = append(parts, printable(r.LastError))
	}
	return strings.Join(parts, "; ")
}
