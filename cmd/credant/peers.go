package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/credant/credant/control/localapi"
)

// Widths of the columns that do not depend on what is in them. An overlay IPv4
// address and an IPv4 endpoint fit; what is wider gets a line of its own.
const (
	addressWidth  = len("255.255.255.255")
	pathWidth     = len("connecting")
	rttWidth      = len("12.3 ms ")
	endpointWidth = len("255.255.255.255:65535")
	gap           = "  "
	nodeWidth     = width - addressWidth - pathWidth - rttWidth - endpointWidth - 4*len(gap)
)

func writePeers(w io.Writer, s localapi.Status, now time.Time, st style, verbose bool) {
	if len(s.Peers) == 0 {
		writeAlone(w, s, st)
		return
	}
	peers := slices.Clone(s.Peers)
	slices.SortStableFunc(peers, func(a, b localapi.Peer) int {
		return cmp.Or(cmp.Compare(pathRank(a.Path), pathRank(b.Path)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	names := len("NODE")
	for _, p := range peers {
		names = max(names, min(nodeWidth, utf8.RuneCountInString(nodeName(p))))
	}
	head := padRight("NODE", names) + gap + padRight("ADDRESS", addressWidth) + gap +
		padRight("PATH", pathWidth) + gap + padLeft("RTT", rttWidth) + gap + "ENDPOINT"
	fmt.Fprintln(w, st.dim(head))
	for _, p := range peers {
		writePeer(w, p, names, now, st, verbose)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, count(peers))
}

func writePeer(w io.Writer, p localapi.Peer, names int, now time.Time, st style, verbose bool) {
	address, rtt, endpoint := "", "-", printable(p.Endpoint)
	if len(p.Addresses) > 0 {
		address = printable(p.Addresses[0])
	}
	if p.RTTMillis != nil {
		rtt = millis(*p.RTTMillis)
	}
	var below []string
	if utf8.RuneCountInString(address) > addressWidth {
		below, address = append(below, "address "+address), ""
	}
	if utf8.RuneCountInString(endpoint) > endpointWidth {
		below, endpoint = append(below, "endpoint "+endpoint), ""
	}
	line := padRight(shorten(nodeName(p), names), names) + gap + padRight(address, addressWidth) + gap +
		paintPath(st, p.Path) + gap + padLeft(rtt, rttWidth) + gap + endpoint
	fmt.Fprintln(w, strings.TrimRight(line, " "))
	if p.Reason != "" && p.Path != "direct" && p.Path != "lan" {
		below = append(below, p.Reason)
		if p.Mend != "" {
			below = append(below, p.Mend)
		}
	}
	below = append(below, peerRoutes(p)...)
	if verbose {
		below = append(below, peerDetails(p, now)...)
	}
	for _, text := range below {
		writeWrapped(w, 4, text)
	}
}

func peerDetails(p localapi.Peer, now time.Time) []string {
	var out []string
	if utf8.RuneCountInString(nodeName(p)) > nodeWidth {
		out = append(out, "name "+nodeName(p))
	}
	if p.Name != "" {
		out = append(out, "id "+p.ID)
	}
	for _, a := range p.Addresses[min(1, len(p.Addresses)):] {
		out = append(out, "address "+a)
	}
	handshake := "no handshake yet"
	if p.LastHandshake != nil {
		handshake = "last handshake " + span(now.Sub(*p.LastHandshake)) + " ago"
	}
	return append(out,
		"public key "+p.PublicKey,
		fmt.Sprintf("%s, received %s, sent %s", handshake, octets(p.RxBytes), octets(p.TxBytes)))
}

// nodeName is what a peer is called in the table: the name by which it is found,
// which is not its own where another node holds that.
func nodeName(p localapi.Peer) string {
	if p.Name != "" && len(p.Names) > 0 {
		return printable(p.Names[0])
	}
	return printable(cmp.Or(p.Name, p.ID))
}

var paths = []string{"lan", "direct", "relay", "connecting", "offline"}

// pathRank puts those that can be used on top.
func pathRank(path string) int {
	if i := slices.Index(paths, path); i >= 0 {
		return i
	}
	return len(paths)
}

func paintPath(st style, path string) string {
	text := padRight(shorten(printable(path), pathWidth), pathWidth)
	switch path {
	case "lan", "direct":
		return st.green(text)
	case "relay", "connecting":
		return st.yellow(text)
	case "offline":
		return st.red(text)
	}
	return text
}

// usable counts the peers that traffic can reach.
func usable(peers []localapi.Peer) int {
	n := 0
	for _, p := range peers {
		switch p.Path {
		case "lan", "direct", "relay":
			n++
		}
	}
	return n
}

func count(peers []localapi.Peer) string {
	by := map[string]int{}
	for _, p := range peers {
		if !slices.Contains(paths, p.Path) {
			p.Path = "other" // a newer daemon's
		}
		by[p.Path]++
	}
	var parts []string
	for _, path := range append(slices.Clone(paths), "other") {
		if by[path] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[path], path))
		}
	}
	return plural(len(peers), "node", "nodes") + ": " + strings.Join(parts, ", ")
}

// writeAlone is what stands in place of the table while no other node is
// known: what is being tried, and what a person can do.
func writeAlone(w io.Writer, s localapi.Status, st style) {
	command := "sudo credant up"
	if s.Network != "default" {
		command += " --network " + s.Network
	}
	fmt.Fprintln(w, st.bold("No other node yet."))
	writeWrapped(w, 0, searching(s.Sources))
	fmt.Fprintf(w, "\nOn another machine run\n\n")
	writeWrapped(w, 4, command)
	fmt.Fprintln(w)
	writeWrapped(w, 0, "with the same passphrase. If it shows other check words than these, there is a typo in one of the two. "+bootstrapTip(s))
}

// bootstrapTip is how another machine finds this one where nothing else helps.
func bootstrapTip(s localapi.Status) string {
	if s.Sources["dht"].State == "working" {
		return ""
	}
	for _, c := range s.Self.Candidates {
		if a, err := netip.ParseAddrPort(c.Address); err == nil && a.Addr().IsValid() {
			return fmt.Sprintf("Where it can reach this one, it finds it at once with --bootstrap %s.", a)
		}
	}
	return ""
}
