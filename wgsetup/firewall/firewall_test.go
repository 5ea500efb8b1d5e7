package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func opening() Opening {
	return Opening{
		Network: "office", Interface: "credant0",
		Sources: prefixes("10.99.0.0/16", "fd99::/48"),
		To:      prefixes("192.168.1.0/24", "fd01::/64"),
	}
}

// fakeUFW keeps rules as ufw does.
type fakeUFW struct {
	t    *testing.T
	root string
	all  []string
	runs int
}

func newFakeUFW(t *testing.T) *fakeUFW {
	f := &fakeUFW{t: t, root: t.TempDir()}
	f.write("ufw.conf", "# comment\nENABLED=yes\nLOGLEVEL=low\n")
	f.write("user.rules", "*filter\n")
	return f
}

func (f *fakeUFW) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.root, "etc/ufw", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeUFW) run(_ context.Context, name string, args ...string) (string, error) {
	if name != "ufw" {
		return "", errors.New("no such chain")
	}
	f.runs++
	words := strings.Join(args, " ")
	rule, deletes := strings.CutPrefix(words, "route delete ")
	if deletes {
		f.all = slices.DeleteFunc(f.all, func(r string) bool { return strings.HasPrefix(r, "route "+rule+" comment") })
	} else {
		f.all = append(f.all, words)
	}
	text := "*filter\n"
	for _, r := range f.all {
		// route allow in on IF from SOURCE to DESTINATION comment WORD
		w := strings.Fields(r)
		if w[8] == "any" {
			w[8] = "0.0.0.0/0"
			if strings.Contains(w[6], ":") {
				w[8] = "::/0"
			}
		}
		text += fmt.Sprintf("### tuple ### route:allow any any %s any %s in_%s comment=%x\n-A ufw-user-forward -j ACCEPT\n", w[8], w[6], w[4], w[10])
	}
	f.write("user.rules", text)
	return "Rule added\n", nil
}

func TestUFW(t *testing.T) {
	f := newFakeUFW(t)
	h := Host{Root: f.root, Run: f.run}
	other := "route allow in on eth1 from 10.0.0.0/8 to any comment mine"
	f.all = []string{other}
	r, err := h.Open(t.Context(), opening())
	if err != nil || !slices.Equal(r.Opened, []string{"ufw"}) || len(r.Advice) > 0 {
		t.Fatalf("open: %+v, %v", r, err)
	}
	want := []string{
		other,
		"route allow in on credant0 from 10.99.0.0/16 to 192.168.1.0/24 comment credant:office",
		"route allow in on credant0 from fd99::/48 to fd01::/64 comment credant:office",
	}
	if diff := cmp.Diff(want, f.all); diff != "" {
		t.Error(diff)
	}
	if r, err := h.Open(t.Context(), opening()); err != nil || len(r.Opened) > 0 {
		t.Errorf("opening twice: %+v, %v", r, err)
	}
	all := opening()
	all.To = prefixes("0.0.0.0/0", "::/0")
	for range 2 {
		if _, err := h.Open(t.Context(), all); err != nil {
			t.Error(err)
		}
	}
	want = []string{
		other,
		"route allow in on credant0 from 10.99.0.0/16 to any comment credant:office",
		"route allow in on credant0 from fd99::/48 to any comment credant:office",
	}
	slices.Sort(f.all[1:])
	if diff := cmp.Diff(want, f.all); diff != "" {
		t.Error(diff)
	}
	if _, err := h.Close(t.Context(), "offic"); err != nil || len(f.all) != 3 {
		t.Errorf("another network's: %v, %q", err, f.all)
	}
	if removed, err := h.Close(t.Context(), "office"); err != nil || len(removed) != 2 || len(f.all) != 1 {
		t.Errorf("closed %q: %v, left %q", removed, err, f.all)
	}
	runs := f.runs
	if removed, err := h.Close(t.Context(), "office"); err != nil || len(removed) > 0 || f.runs != runs {
		t.Errorf("closed again %q in %d runs: %v", removed, f.runs-runs, err)
	}
}

func TestUFWIsOff(t *testing.T) {
	f := newFakeUFW(t)
	f.write("ufw.conf", "ENABLED=no\n")
	if r, err := (Host{Root: f.root, Run: f.run}).Open(t.Context(), opening()); err != nil || f.runs > 0 {
		t.Errorf("%+v: %v", r, err)
	}
}

// Docker's chains as it makes them, of the host's own iptables.
func TestDocker(t *testing.T) {
	ns := nstest.New(t)
	before := make(map[string]string)
	for _, program := range []string{"iptables", "ip6tables"} {
		if _, err := ns.Try(program, "-N", dockerChain); err != nil {
			nstest.Skip(t, "no "+program)
		}
		ns.Run(program, "-P", "FORWARD", "DROP")
		ns.Run(program, "-A", "FORWARD", "-j", dockerChain)
		ns.Run(program, "-A", dockerChain, "-i", "eth7", "-m", "comment", "--comment", "mine", "-j", "ACCEPT")
		ns.Run(program, "-A", dockerChain, "-j", "RETURN")
		before[program] = ns.Run(program, "-S")
	}
	h := Host{Root: t.TempDir()}
	ns.Do(func() {
		r, err := h.Open(t.Context(), opening())
		if err != nil || len(r.Opened) != 2 || len(r.Advice) > 0 {
			t.Errorf("open: %+v, %v", r, err)
		}
		if r, err := h.Open(t.Context(), opening()); err != nil || len(r.Opened) > 0 {
			t.Errorf("opening twice: %+v, %v", r, err)
		}
	})
	for program, rule := range map[string]string{
		"iptables":  "-s 10.99.0.0/16 -d 192.168.1.0/24 -i credant0",
		"ip6tables": "-s fd99::/48 -d fd01::/64 -i credant0",
	} {
		if out := ns.Run(program, "-S", dockerChain); !strings.Contains(out, rule) || !strings.Contains(out, "-o credant0") {
			t.Errorf("%s:\n%s", program, out)
		}
	}
	all := opening()
	all.To = prefixes("0.0.0.0/0")
	ns.Do(func() {
		for range 2 {
			if _, err := h.Open(t.Context(), all); err != nil {
				t.Error(err)
			}
		}
	})
	if out := ns.Run("iptables", "-S", dockerChain); !strings.Contains(out, "-s 10.99.0.0/16 -i credant0") || strings.Contains(out, "192.168.1.0") {
		t.Errorf("to all:\n%s", out)
	}
	ns.Do(func() {
		if removed, err := h.Close(t.Context(), "office"); err != nil || len(removed) != 2 {
			t.Errorf("closed %q: %v", removed, err)
		}
	})
	for program, rules := range before {
		if diff := cmp.Diff(rules, ns.Run(program, "-S")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAdvice(t *testing.T) {
	for name, c := range map[string]struct{ ruleset, want string }{
		"open":     {"table inet f { chain fw { type filter hook forward priority 0; }\n}", ""},
		"own":      {"table inet f { chain fw { type filter hook forward priority 0; policy drop; }\n}", "nft insert rule inet f fw iifname credant0 accept"},
		"opened":   {`table inet f { chain fw { type filter hook forward priority 0; policy drop; iifname "credant0" accept; }` + "\n}", ""},
		"iptables": {"table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }\n}", "iptables -I FORWARD -i credant0 -j ACCEPT"},
		"firewalld": {
			"table inet firewalld { chain zones { } \n chain filter_FORWARD { type filter hook forward priority 10; jump zones; reject; }\n}",
			"firewall-cmd --zone=trusted --change-interface=credant0",
		},
		"firewalld opened": {
			`table inet firewalld { chain zones { iifname "credant0" accept; } ` + "\n chain filter_FORWARD { type filter hook forward priority 10; jump zones; reject; }\n}",
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := nstest.New(t)
			ns.Nft(c.ruleset)
			ns.Do(func() {
				r, err := Host{Root: t.TempDir()}.Open(t.Context(), opening())
				if err != nil {
					t.Error(err)
				}
				got := strings.Join(r.Advice, "\n")
				if c.want == "" && got != "" || !strings.Contains(got, c.want) {
					t.Errorf("advice: %q", got)
				}
			})
		})
	}
}
