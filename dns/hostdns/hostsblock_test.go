package hostdns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEditHosts(t *testing.T) {
	begin, end := beginMark("home")+"\n", endMark("home")+"\n"
	unendedBegin := beginMark("home") + unended + "\n"
	other := beginMark("home2") + "\n10.30.0.7\tnas.home2.internal\n" + endMark("home2") + "\n"
	const ours = "10.20.0.7\tnas.home.internal nas\n"
	for _, c := range []struct{ name, text, want, removed string }{
		{"empty", "", begin + ours + end, ""},
		{"appended", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + begin + ours + end, "127.0.0.1 localhost\n"},
		{"no end of line", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + unendedBegin + ours + end, "127.0.0.1 localhost"},
		{"no end of line, once more", "127.0.0.1 localhost\n" + unendedBegin + "10.20.0.1 old.home.internal\n" + end, "127.0.0.1 localhost\n" + unendedBegin + ours + end, "127.0.0.1 localhost"},
		{"no end of line, and more since", "a\n" + unendedBegin + "10.20.0.1 old.home.internal\n" + end + "b\n", "a\n" + unendedBegin + ours + end + "b\n", "a\nb\n"},
		{"in its place", "a\n" + begin + "10.20.0.1 old.home.internal\n" + end + "b\n", "a\n" + begin + ours + end + "b\n", "a\nb\n"},
		{"a person's line within", "a\n" + begin + "192.0.2.1 mine\n" + end, "a\n" + begin + ours + end + "192.0.2.1 mine\n", "a\n192.0.2.1 mine\n"},
		{"no end", "a\n" + begin + "10.20.0.1 old.home.internal\nb\n", "a\n" + begin + ours + end + "b\n", "a\nb\n"},
		{"cut off line", "a\n" + begin + "10.20.0.1 old.home.internal\n10.2", "a\n" + begin + ours + end + "10.2", "a\n10.2"},
		{"stray end", "a\n" + end + "b\n", "a\n" + begin + ours + end + "b\n", "a\nb\n"},
		{"twice", begin + end + "a\n" + begin + "10.20.0.1 old.home.internal\n" + end, begin + ours + end + "a\n", "a\n"},
		{"another network", other, other + begin + ours + end, other},
		{"another network, and no end", begin + other, begin + ours + end + other, other},
		{"CRLF", "127.0.0.1 localhost\r\n", "127.0.0.1 localhost\r\n" + begin + ours + end, "127.0.0.1 localhost\r\n"},
	} {
		got := editHosts([]byte(c.text), "home", "home.internal", []string{strings.TrimSuffix(ours, "\n")})
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if again := editHosts(got, "home", "home.internal", []string{strings.TrimSuffix(ours, "\n")}); string(again) != string(got) {
			t.Errorf("%s: the second time it is %q", c.name, again)
		}
		if diff := cmp.Diff(c.removed, string(editHosts([]byte(c.text), "home", "home.internal", nil))); diff != "" {
			t.Errorf("%s, removed: %s", c.name, diff)
		}
	}
}

// Members choose their names.
func TestHostsLines(t *testing.T) {
	a, b := netip.MustParseAddr("10.20.0.7"), netip.MustParseAddr("fd00:1::7")
	long := strings.Repeat("a", 64)
	entries := []Entry{
		{Addr: a, Names: []string{"NAS.home.internal.", "git.home.internal", "nas-abcd.home.internal"}},
		{Addr: b, Names: []string{"nas.home.internal"}},
		{Addr: netip.MustParseAddr("10.20.0.8"), Names: []string{"localhost.home.internal", "desk.home.internal"}},
		{Addr: netip.MustParseAddr("10.20.0.9"), Names: []string{
			"www.example.org", "home.internal", ".home.internal", "x y.home.internal", "x\n127.0.0.1 z.home.internal", "#.home.internal",
			"-a.home.internal", long + ".home.internal", "xhome.internal", "ä.home.internal",
		}},
		{Names: []string{"no.home.internal"}},
		{Addr: netip.MustParseAddr("fe80::1%eth0"), Names: []string{"zone.home.internal"}},
	}
	want := []string{
		"10.20.0.7\tnas.home.internal git.home.internal nas-abcd.home.internal nas git nas-abcd",
		"fd00:1::7\tnas.home.internal nas",
		"10.20.0.8\tlocalhost.home.internal desk.home.internal",
	}
	got, more := hostsLines(entries, "home.internal", map[string]bool{"desk": true})
	if diff := cmp.Diff(want, got); diff != "" || more != 0 {
		t.Errorf("%d more, %s", more, diff)
	}
}

func TestHostsLinesAreBounded(t *testing.T) {
	var entries []Entry
	for i := range maxHostsLines + 7 {
		e := Entry{Addr: netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})}
		for n := range 100 {
			e.Names = append(e.Names, fmt.Sprintf("n%d-%d.home.internal", i, n))
		}
		entries = append(entries, e)
	}
	lines, more := hostsLines(entries, "home.internal", nil)
	if len(lines) != maxHostsLines || more != 7 || len(strings.Fields(lines[0])) != 1+2*maxHostsNames {
		t.Errorf("%d lines, %d more, %s", len(lines), more, lines[0])
	}
}

// Whatever is in the file: no line of others is lost or changed, the second edit
// changes nothing, and removing leaves what was there.
func FuzzEditHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n", "10.20.0.7\tnas.home.internal")
	f.Add(beginMark("home")+"\nx\n", "10.20.0.7\tnas.home.internal")
	f.Add(endMark("home")+"\n"+beginMark("home")+"\n"+beginMark("home2")+"\n"+endMark("home"), "")
	f.Fuzz(func(t *testing.T, text, name string) {
		lines, _ := hostsLines([]Entry{{Addr: netip.MustParseAddr("10.20.0.7"), Names: []string{name + ".home.internal"}}}, "home.internal", nil)
		others := editHosts([]byte(text), "home", "home.internal", nil)
		edited := editHosts([]byte(text), "home", "home.internal", lines)
		if again := editHosts(edited, "home", "home.internal", lines); string(again) != string(edited) {
			t.Errorf("first %q, then %q", edited, again)
		}
		restored := string(editHosts(edited, "home", "home.internal", nil))
		if restored != string(others) && strings.ReplaceAll(restored, "\n", "") != strings.ReplaceAll(string(others), "\n", "") {
			t.Errorf("restored to %q, not %q", restored, others)
		}
		for line := range strings.Lines(text) {
			mark := strings.Contains(line, " credant home")
			if !mark && !isOurs([]byte(line), "home.internal") && !strings.Contains(string(edited), line) {
				t.Errorf("line %q is lost in %q", line, edited)
			}
		}
		for _, line := range lines {
			if strings.ContainsAny(line, "\n\r#") {
				t.Errorf("line %q", line)
			}
		}
	})
}
