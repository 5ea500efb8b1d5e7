package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
)

// renderStatus writes a status within 80 columns. What a person should act on
// comes first, then this node, the others, and how they are searched for.
func renderStatus(w io.Writer, s localapi.Status, now time.Time, st style, verbose bool) error {
	b := bufio.NewWriter(w)
	writeNotices(b, s.Notices, st)
	fields := []field{{"network", s.Network + ": " + interfaceLine(s) + upFor(s.Started, now)}}
	fields = append(fields, selfFields(s)...)
	fields = append(fields, field{"network id", s.NetworkID})
	fields = append(fields, namesFields(s)...)
	fields = append(fields, natFields(s.Self.NAT)...)
	if m := s.Self.PortMapping; m != nil && m.Detail != "" {
		fields = append(fields, field{"router", m.Detail})
	}
	fields = append(fields, routeFields(s)...)
	if verbose {
		fields = append(fields, verboseFields(s)...)
	}
	for _, f := range fields {
		f.write(b, st)
	}
	fmt.Fprintln(b)
	writePeers(b, s, now, st, verbose)
	fmt.Fprintln(b)
	writeSources(b, s.Sources, st)
	writeRelays(b, s.Relays, st, verbose)
	return b.Flush()
}

// field is a label and what there is to say under it.
type field struct{ label, text string }

const labelWidth = 13

func (f field) write(w io.Writer, st style) {
	label := padRight(f.label, labelWidth)
	writeHanging(w, st.dim(label), label, f.text)
}

func writeNotices(w io.Writer, notices []string, st style) {
	for _, n := range notices {
		writeHanging(w, st.yellow("notice")+strings.Repeat(" ", labelWidth-6), padRight("notice", labelWidth), n)
	}
	if len(notices) > 0 {
		fmt.Fprintln(w)
	}
}

func interfaceLine(s localapi.Status) string {
	backend := map[string]string{"kernel": "kernel WireGuard", "embedded": "embedded WireGuard"}[s.Backend]
	if backend == "" {
		backend = s.Backend
	}
	return fmt.Sprintf("%s, %s, UDP port %d", s.Interface, backend, s.Port)
}

func upFor(started, now time.Time) string {
	if started.IsZero() {
		return ""
	}
	return ", up " + span(now.Sub(started))
}

func selfFields(s localapi.Status) []field {
	return []field{
		{"this node", s.Self.Name},
		{"addresses", strings.Join(s.Self.Addresses, " ")},
		{"check words", strings.Join(s.CheckWords, " ") + " (the same on each machine)"},
	}
}

// namesFields say under which name this node is found, and how this host finds
// the others.
func namesFields(s localapi.Status) []field {
	n := s.Names
	if n == nil || len(s.Self.Names) == 0 {
		return nil
	}
	text := s.Self.Names[0] + "." + n.Domain
	switch {
	case n.Error != "":
		text += "; this host does not find names: " + n.Error
	case n.Mode == "off":
		text += "; this host was not told where to look names up (--dns off)"
	case n.Mode == "" || n.Mode == "none":
	case n.Mode == "hosts":
		text += "; kept in /etc/hosts"
	default:
		text += "; looked up by " + map[string]string{"resolved": "systemd-resolved"}[n.Mode]
		if n.Mode != "resolved" {
			text += n.Mode
		}
	}
	if n.Error == "" && n.Why != "" {
		text += " (" + n.Why + ")"
	}
	if n.Lacks != "" {
		text += "; " + n.Lacks
	}
	return []field{{"names", text}}
}

// natFields say what the NATs in front of this node mean for it, and in
// RFC 4787's words what they are.
func natFields(nat localapi.NAT) []field {
	var out []field
	for _, f := range []struct {
		label string
		nat   localapi.NATFamily
	}{{"IPv4", nat.IPv4}, {"IPv6", nat.IPv6}} {
		text := f.nat.Detail
		switch m := f.nat.Mapping; {
		case text == "" && m == "none":
			text = "no NAT"
		case text == "" && m == "" && len(f.nat.Reflexive) == 0:
			continue
		case text == "" && m == "":
			text = "not known yet what the NAT does"
		case text == "":
			text = m + " mapping"
		case m != "" && m != "none":
			text += " (" + m + " mapping)"
		}
		if len(f.nat.Reflexive) > 0 {
			text += "; seen as " + listed(f.nat.Reflexive, 3)
		} else if f.nat.Mapping == "" {
			text += ` ("credant netcheck" finds out more)`
		}
		out = append(out, field{f.label, text})
	}
	return out
}

func verboseFields(s localapi.Status) []field {
	var candidates []string
	for _, c := range s.Self.Candidates {
		candidates = append(candidates, c.Address+" ("+c.Type+")")
	}
	return []field{
		{"id", s.Self.ID},
		{"public key", s.Self.PublicKey},
		{"prefixes", strings.Join(s.Prefixes, " ")},
		{"candidates", strings.Join(candidates, ", ")},
		{"dropped", drops(s.Drops)},
		{"daemon", fmt.Sprintf("process %d, version %s, MTU %d", s.PID, s.Version, s.MTU)},
	}
}

func drops(counters map[string]uint64) string {
	var parts []string
	for _, reason := range sortedKeys(counters) {
		if n := counters[reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", reason, n))
		}
	}
	if len(parts) == 0 {
		return "no datagrams"
	}
	return "datagrams: " + strings.Join(parts, ", ")
}
