package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// docker is the chain that Docker, which drops what it does not know, leaves to
// others, and does not touch. Rules are iptables' words after the chain's name,
// without the comment.
type docker struct {
	host    Host
	program string
	ipv6    bool
}

const dockerChain = "DOCKER-USER"

func (d docker) name() string { return "Docker's " + d.program }

// active says whether there is the chain: asking iptables itself would make a
// table on some hosts.
func (d docker) active(ctx context.Context) (bool, error) {
	family, names := nftables.TableFamilyIPv4, "ip_tables_names"
	if d.ipv6 {
		family, names = nftables.TableFamilyIPv6, "ip6_tables_names"
	}
	// The old kind of iptables, whose chains nobody else can see.
	if b, err := os.ReadFile("/proc/thread-self/net/" + names); err == nil && strings.Contains(string(b), "filter\n") {
		_, err := d.list(ctx)
		return err == nil, nil
	}
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChainsOfTableFamily(family)
	if err != nil {
		return false, nil // without nf_tables there is no such chain
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == "filter" && c.Name == dockerChain }), nil
}

func (d docker) want(o Opening) (rules []string) {
	for _, p := range o.pairs(func(x netip.Prefix) bool { return x.Addr().Is6() == d.ipv6 }) {
		rules = append(rules, d.rule(o.Interface, p[0], p[1]))
	}
	if len(rules) == 0 {
		return nil
	}
	return append(rules, "-o "+o.Interface+" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
}

// rule leaves a /0 out, as iptables does when it lists rules.
func (d docker) rule(iface string, from, to netip.Prefix) string {
	words := "-s " + from.String()
	if to.Bits() > 0 {
		words += " -d " + to.String()
	}
	return words + " -i " + iface + " -j ACCEPT"
}

func (d docker) have(ctx context.Context, comment string) (rules []string, err error) {
	if active, err := d.active(ctx); err != nil || !active {
		return nil, err
	}
	out, err := d.list(ctx)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+dockerChain+" ")
		if !ok {
			continue
		}
		// iptables quotes comments only where it has to.
		rule, ok = strings.CutSuffix(strings.ReplaceAll(rule, `"`, ""), " -m comment --comment "+comment+" -j ACCEPT")
		if ok {
			rules = append(rules, rule+" -j ACCEPT")
		}
	}
	return rules, nil
}

func (d docker) list(ctx context.Context) (string, error) {
	return d.host.run(ctx, d.program, "-w", "5", "-S", dockerChain)
}

func (d docker) add(ctx context.Context, rule, comment string) error {
	// Before Docker's own RETURN.
	return d.change(ctx, "-I", rule, comment)
}

func (d docker) remove(ctx context.Context, rule string) error {
	there, err := d.list(ctx)
	if err != nil {
		return err
	}
	matches, _ := strings.CutSuffix(rule, " -j ACCEPT")
	for line := range strings.Lines(there) {
		if words, ok := strings.CutPrefix(strings.ReplaceAll(strings.TrimSpace(line), `"`, ""), "-A "+dockerChain+" "+matches+" -m comment --comment "); ok {
			return d.change(ctx, "-D", rule, strings.Fields(words)[0])
		}
	}
	return nil
}

func (d docker) change(ctx context.Context, how, rule, comment string) error {
	matches, _ := strings.CutSuffix(rule, " -j ACCEPT")
	args := append([]string{"-w", "5", how, dockerChain}, strings.Fields(matches)...)
	if _, err := d.host.run(ctx, d.program, append(args, "-m", "comment", "--comment", comment, "-j", "ACCEPT")...); err != nil {
		return fmt.Errorf("change %s: %w", dockerChain, err)
	}
	return nil
}
