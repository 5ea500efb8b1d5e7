package firewall

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// dropped says what to do where the host drops what passes through it, as far
// as its nftables ruleset tells: iptables writes there too, but for its
// oldest kind.
func (h Host) dropped(ctx context.Context, o Opening) (advice []string) {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil
	}
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || !o.concerns(c.Table.Family) {
			continue
		}
		isFirewalld := c.Table.Name == "firewalld"
		drops := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if !isFirewalld && !drops || mentions(conn, c, o.Interface) {
			continue
		}
		switch {
		case isFirewalld:
			text, known := firewalld{h}.advice(ctx, o)
			if !known && !mentionsAnywhere(conn, c.Table, chains, o.Interface) {
				text = trusted(o)
			}
			if text != "" {
				advice = append(advice, text)
			}
		case c.Table.Name == "filter" && c.Name == "FORWARD":
			program := "iptables"
			if c.Table.Family == nftables.TableFamilyIPv6 {
				program = "ip6tables"
			}
			advice = append(advice, fmt.Sprintf("the firewall drops what this host is to forward for the network: run %[1]s -I FORWARD -i %[2]s -j ACCEPT && "+
				"%[1]s -I FORWARD -o %[2]s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", program, o.Interface))
		default:
			advice = append(advice, fmt.Sprintf("the firewall drops what this host is to forward for the network: run nft insert rule %[1]s %[2]s %[3]s iifname %[4]s accept && "+
				"nft insert rule %[1]s %[2]s %[3]s oifname %[4]s ct state established,related accept", familyName(c.Table.Family), c.Table.Name, c.Name, o.Interface))
		}
	}
	slices.Sort(advice)
	return slices.Compact(advice)
}

func (o Opening) concerns(f nftables.TableFamily) bool {
	for _, to := range o.To {
		switch f {
		case nftables.TableFamilyINet:
			return true
		case nftables.TableFamilyIPv4:
			if to.Addr().Is4() {
				return true
			}
		case nftables.TableFamilyIPv6:
			if to.Addr().Is6() {
				return true
			}
		}
	}
	return false
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	default:
		return "inet"
	}
}

// mentions says whether a rule names the device: then somebody has thought of
// it.
func mentions(conn *nftables.Conn, c *nftables.Chain, iface string) bool {
	rules, err := conn.GetRules(c.Table, c)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(rules, func(r *nftables.Rule) bool {
		return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
			compare, ok := e.(*expr.Cmp)
			return ok && bytes.Equal(bytes.TrimRight(compare.Data, "\x00"), []byte(iface))
		})
	})
}

func mentionsAnywhere(conn *nftables.Conn, table *nftables.Table, chains []*nftables.Chain, iface string) bool {
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == table.Name && c.Table.Family == table.Family && mentions(conn, c, iface)
	})
}
