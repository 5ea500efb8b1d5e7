package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// ufw keeps its rules over reboots, and lets answers pass by itself. Rules are
// the words after "ufw route", without the comment. The program, which takes
// half a second, is run for changes alone.
type ufw struct{ host Host }

func (u ufw) name() string { return "ufw" }

// active reads the file that says whether ufw is on.
func (u ufw) active(context.Context) (bool, error) {
	b, err := os.ReadFile(u.host.Root + "/etc/ufw/ufw.conf")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for ufw: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == "ENABLED" {
			return strings.EqualFold(strings.Trim(value, `"'`), "yes"), nil
		}
	}
	return false, nil
}

func (u ufw) want(o Opening) (rules []string) {
	for _, p := range o.pairs(func(netip.Prefix) bool { return true }) {
		rules = append(rules, fmt.Sprintf("allow in on %s from %s to %s", o.Interface, p[0], p[1]))
	}
	return rules
}

// anywhere is how ufw writes a /0, whose family it takes from the other side.
var anywhere = strings.NewReplacer(" to 0.0.0.0/0", " to any", " to ::/0", " to any")

// have reads ufw's own file of rules, each of which has a line such as this one
// before what iptables is told:
//
//	### tuple ### route:allow any any 192.168.1.0/24 any 10.99.0.0/16 in_credant0 comment=6372
//
// The words are action, protocol, port and address of the destination, and of
// the source, interface, and the comment in hexadecimal digits.
func (u ufw) have(_ context.Context, comment string) (rules []string, err error) {
	for _, name := range []string{"user.rules", "user6.rules"} {
		b, err := os.ReadFile(u.host.Root + "/etc/ufw/" + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for ufw's rules: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if rule, ok := parseTuple(line, fmt.Sprintf("comment=%x", comment)); ok {
				rules = append(rules, rule)
			}
		}
	}
	return rules, nil
}

// parseTuple writes a rule of ours as want does.
func parseTuple(line, comment string) (string, bool) {
	words, ok := strings.CutPrefix(strings.TrimSpace(line), "### tuple ### route:allow ")
	f := strings.Fields(words)
	if !ok || len(f) < 7 || f[len(f)-1] != comment {
		return "", false
	}
	iface, ok := strings.CutPrefix(f[len(f)-2], "in_")
	return fmt.Sprintf("allow in on %s from %s to %s", iface, f[4], f[2]), ok
}

func (u ufw) add(ctx context.Context, rule, comment string) error {
	args := append([]string{"route"}, strings.Fields(anywhere.Replace(rule))...)
	_, err := u.host.run(ctx, "ufw", append(args, "comment", comment)...)
	return err
}

func (u ufw) remove(ctx context.Context, rule string) error {
	_, err := u.host.run(ctx, "ufw", append([]string{"route", "delete"}, strings.Fields(anywhere.Replace(rule))...)...)
	return err
}
