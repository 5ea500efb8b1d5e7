package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// Opening says what is to pass.
type Opening struct {
	Network   string // of the comment; no blanks
	Interface string // the network's device
	Sources   []netip.Prefix
	To        []netip.Prefix // a /0 is for all of its family
	Links     []string       // by which the host reaches these
}

// Host is where the firewall is. The zero Host is this one.
type Host struct {
	// Root is put before the paths of files; "" in all but tests.
	Root string
	// Run runs a program and returns what it printed. Nil runs it.
	Run func(ctx context.Context, name string, args ...string) (string, error)
}

// Result is what Open did and what it leaves to a person.
type Result struct {
	Opened []string // by which tool; empty if it was open
	Advice []string // what a person has to do, each with its command
}

// limit is for one program: ufw takes half a second where there is little to
// do.
const limit = 20 * time.Second

// comment marks what is ours.
func comment(network string) string { return "credant:" + network }

// Open lets o through, and takes away what an earlier Open let through and o
// does not. Doing it twice changes nothing.
func (h Host) Open(ctx context.Context, o Opening) (r Result, err error) {
	var errs []error
	ours := false
	for _, tool := range []tool{ufw{h}, docker{h, "iptables", false}, docker{h, "ip6tables", true}} {
		active, err := tool.active(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !active {
			continue
		}
		ours = true
		changed, err := sync(ctx, tool, comment(o.Network), tool.want(o))
		if err != nil {
			errs = append(errs, err)
		}
		if changed {
			r.Opened = append(r.Opened, tool.name())
		}
	}
	if !ours || len(errs) > 0 {
		r.Advice = append(r.Advice, h.dropped(ctx, o)...)
	}
	return r, errors.Join(errs...)
}

// Close takes away all that carries a network's name and returns what that was,
// in words.
func (h Host) Close(ctx context.Context, network string) (removed []string, err error) {
	var errs []error
	for _, tool := range []tool{ufw{h}, docker{h, "iptables", false}, docker{h, "ip6tables", true}} {
		there, err := tool.have(ctx, comment(network))
		errs = append(errs, err)
		for _, rule := range there {
			if err := tool.remove(ctx, rule); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = append(removed, tool.name()+" rule "+rule)
		}
	}
	return removed, errors.Join(errs...)
}

// tool is a firewall that has rules as text, in a form that tells two of them
// apart.
type tool interface {
	name() string
	active(ctx context.Context) (bool, error)
	want(o Opening) []string
	// have returns the rules with a comment. Where the tool is not there, it
	// has none.
	have(ctx context.Context, comment string) ([]string, error)
	add(ctx context.Context, rule, comment string) error
	remove(ctx context.Context, rule string) error
}

func sync(ctx context.Context, t tool, comment string, want []string) (changed bool, err error) {
	have, err := t.have(ctx, comment)
	if err != nil {
		return false, err
	}
	there := make(map[string]bool, len(have))
	for _, rule := range have {
		there[rule] = true
	}
	var errs []error
	for _, rule := range want {
		if !there[rule] {
			changed = true
			errs = append(errs, t.add(ctx, rule, comment))
		}
		delete(there, rule)
	}
	for rule := range there {
		changed = true
		errs = append(errs, t.remove(ctx, rule))
	}
	return changed, errors.Join(errs...)
}

func (h Host) run(ctx context.Context, name string, args ...string) (string, error) {
	if h.Run != nil {
		return h.Run(ctx, name, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		if len(text) > 300 {
			text = text[:300]
		}
		return "", fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return string(out), nil
}

// pairs are the sources and destinations of one family each.
func (o Opening) pairs(family func(netip.Prefix) bool) (all [][2]netip.Prefix) {
	for _, from := range o.Sources {
		for _, to := range o.To {
			if family(from) && from.Addr().Is4() == to.Addr().Is4() {
				all = append(all, [2]netip.Prefix{from.Masked(), to.Masked()})
			}
		}
	}
	return all
}
