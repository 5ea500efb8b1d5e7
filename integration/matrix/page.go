package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// The page's table stands between these.
const (
	begin  = "<!-- matrix: written by make matrix -->\n"
	finish = "<!-- matrix: end -->\n"
)

// table writes the rows of one pair side by side, in Markdown.
func table(all []pair, rows []row, runs int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d tries a cell, one where theory says no. Times are seconds from the second `up` to direct, median / 95th percentile; lost: datagrams\n"+
		"lost in so many moves from the relay to the direct path.\n\n", runs)
	b.WriteString("| one side | other side | theory | with a relay | time | lost | with a member | time | DHT alone | time |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range all {
		cells := map[mode]row{}
		for _, r := range rows {
			if r.pair.String() == p.String() {
				cells[r.by] = r
			}
		}
		one, other := p.names()
		relay, member, dht := cells[byRelay], cells[byMember], cells[byDHT]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", one, other, theory(p),
			relay.outcome(), relay.times(), relay.swap(), member.outcome(), member.times(), dht.outcome(), dht.times())
	}
	return b.String()
}

// writePage puts the table into the page.
func writePage(name, table string) error {
	page, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(finish))
	if !ok || !closed {
		return fmt.Errorf("write %s: its marks are missing", name)
	}
	text := string(before) + begin + "\n" + table + "\n" + finish + string(after)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
