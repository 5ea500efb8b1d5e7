package hostdns

import (
	"bytes"
	"strings"
)

const (
	// maxHostsLines bounds the block: a look-up reads /etc/hosts from its start.
	maxHostsLines = 1000
	// maxHostsNames bounds a line of it; the C library reads lines of any
	// length, others stop at 512 bytes or so.
	maxHostsNames = 16
)

func beginMark(network string) string {
	return "# BEGIN credant " + network + ": removed when the network goes down"
}

// unended at the end of a begin mark says that the file's last line had no end: it is
// to have none again.
const unended = "; the line above had no end"

func hasUnended(text []byte, network string) bool {
	for line := range bytes.Lines(text) {
		if isMark(line, "BEGIN", network) && bytes.HasSuffix(bytes.TrimSpace(line), []byte(unended)) {
			return true
		}
	}
	return false
}

func endMark(network string) string { return "# END credant " + network }

// isMark tells a mark of the network from one of another whose name is longer.
func isMark(line []byte, word, network string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "# "+word+" credant "+network)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
}

// splitHosts takes the network's block out of the text: before and after are the
// lines of others. Between the marks only lines that look like ours are taken,
// so what a person wrote there stays, also where a mark is gone.
func splitHosts(text []byte, network, domain string) (before, after []byte) {
	inside, found := false, false
	for line := range bytes.Lines(text) {
		switch {
		case isMark(line, "BEGIN", network):
			inside, found = true, true
			continue
		case isMark(line, "END", network):
			inside, found = false, true
			continue
		case isOthersMark(line):
			inside = false
		}
		switch {
		case inside && isOurs(line, domain):
		case found:
			after = append(after, line...)
		default:
			before = append(before, line...)
		}
	}
	return before, after
}

func isOthersMark(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(line), []byte("# BEGIN credant "))
}

// isOurs tells a line that only we write: its first name is below the domain.
func isOurs(line []byte, domain string) bool {
	words := strings.Fields(string(line))
	return len(words) >= 2 && strings.HasSuffix(strings.ToLower(words[1]), "."+domain)
}

// editHosts returns the text with the network's block made of lines, in its
// place or at the end, and without it where there are none.
func editHosts(text []byte, network, domain string, lines []string) []byte {
	before, after := splitHosts(text, network, domain)
	ended := !hasUnended(text, network)
	if len(lines) == 0 {
		if !ended && len(after) == 0 {
			before = bytes.TrimSuffix(before, []byte("\n"))
		}
		return append(before, after...)
	}
	if n := len(before); n > 0 && before[n-1] != '\n' {
		before, ended = append(before, '\n'), false
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(beginMark(network))
	if !ended {
		b.WriteString(unended)
	}
	b.WriteString("\n")
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	b.WriteString(endMark(network) + "\n")
	b.Write(after)
	return b.Bytes()
}

// hostsLines are the lines for the entries. Below the domain each name is also
// given alone, as a search domain would find it, unless others of the file have
// that name already. more tells how many addresses did not fit.
func hostsLines(entries []Entry, domain string, taken map[string]bool) (lines []string, more int) {
	for _, e := range entries {
		if !e.Addr.IsValid() || e.Addr.Zone() != "" {
			continue
		}
		var long, short []string
		for _, name := range e.Names {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			label, ok := strings.CutSuffix(name, "."+domain)
			if !ok || !validName(name) || len(long) == maxHostsNames {
				continue
			}
			long = append(long, name)
			if !strings.Contains(label, ".") && !taken[label] && label != "localhost" {
				short = append(short, label)
			}
		}
		if len(long) == 0 {
			continue
		}
		if len(lines) == maxHostsLines {
			more++
			continue
		}
		lines = append(lines, e.Addr.Unmap().String()+"\t"+strings.Join(append(long, short...), " "))
	}
	return lines, more
}

// validName accepts names of hosts (RFC 1123): members choose them, so nothing
// else may get into the file.
func validName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range []byte(label) {
			if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
				return false
			}
		}
	}
	return true
}

// namesIn are the names that lines of others give an address.
func namesIn(texts ...[]byte) map[string]bool {
	names := map[string]bool{}
	for _, text := range texts {
		for line := range bytes.Lines(text) {
			content, _, _ := strings.Cut(string(line), "#")
			if words := strings.Fields(content); len(words) > 1 {
				for _, name := range words[1:] {
					names[strings.ToLower(name)] = true
				}
			}
		}
	}
	return names
}
