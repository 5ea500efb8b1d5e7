package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) dnsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Show the names of the network, add names of this node",
		Long: `Show the names of the network's nodes, and how this host finds them. A node is
found as NODE.NETWORK.internal, by its id, and by the extra names that it was
given. Where two nodes ask for one name, it means the one that this host knew
first; the others are found with the beginning of their id behind it.`,
		Example: `  credant dns
  credant dns --json
  sudo credant dns add git
  sudo credant dns remove git`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			s, err := p.statusNow(cmd.Context())
			if err != nil {
				return p.notUp(err)
			}
			if asJSON {
				enc := json.NewEncoder(p.stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(namesOf(s))
			}
			writeNames(p.stdout, s, p.colours(p.stdout))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(
		p.aliasCommand("add", "Give this node an extra name",
			`Give this node an extra name, by which all nodes find it. It is kept over
restarts. A node has at most 8 of them.`,
			(*localapi.Client).AddAlias),
		p.aliasCommand("remove", "Take an extra name of this node away", "Take an extra name of this node away.",
			(*localapi.Client).RemoveAlias),
	)
	return cmd
}

func (p *program) aliasCommand(verb, short, long string, change func(*localapi.Client, context.Context, string) (localapi.OwnNames, error)) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Long:    long,
		Example: "  sudo credant dns " + verb + " git",
		Args:    exactly("dns "+verb+" needs one name", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.asRoot(cmd, verb+" names", func(ctx context.Context) error {
				n, err := change(p.client(), ctx, args[0])
				if err != nil {
					return p.notUp(err)
				}
				if len(n.Aliases) == 0 {
					fmt.Fprintf(p.stdout, "%s has no extra names.\n", n.Name)
				} else {
					fmt.Fprintf(p.stdout, "%s is also called %s.\n", n.Name, strings.Join(n.Aliases, ", "))
				}
				p.sayNote(n)
				return nil
			})
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.ownAliases(cmd, args, verb), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// ownAliases complete what can be removed.
func (p *program) ownAliases(cmd *cobra.Command, args []string, verb string) []string {
	if verb != "remove" || len(args) > 0 || p.resolveRunning(cmd) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := p.client().Status(ctx)
	if err != nil {
		return nil
	}
	return s.Self.Aliases
}

// dnsNames is what `credant dns --json` prints.
type dnsNames struct {
	Names *localapi.Names `json:"names"` // how this host finds them
	Nodes []dnsNode       `json:"nodes"`
}

// dnsNode is a node under the labels by which it is found, the best first.
type dnsNode struct {
	Labels    []string `json:"labels"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
	Self      bool     `json:"self,omitempty"`
}

func namesOf(s localapi.Status) dnsNames {
	out := dnsNames{Names: s.Names, Nodes: []dnsNode{}}
	add := func(names []string, id string, addresses []string, self bool) {
		if len(names) == 0 {
			names = []string{id}
		}
		out.Nodes = append(out.Nodes, dnsNode{Labels: names, ID: id, Addresses: addresses, Self: self})
	}
	add(s.Self.Names, s.Self.ID, s.Self.Addresses, true)
	for _, p := range s.Peers {
		add(p.Names, p.ID, p.Addresses, false)
	}
	slices.SortStableFunc(out.Nodes, func(a, b dnsNode) int { return cmp.Compare(a.Labels[0], b.Labels[0]) })
	return out
}

// writeNames lists each node with its addresses, and below it what else it is
// found by.
func writeNames(w io.Writer, s localapi.Status, st style) {
	for _, f := range namesFields(s) {
		f.write(w, st)
	}
	if s.Names != nil && len(s.Names.Servers) > 0 {
		field{"answered at", strings.Join(s.Names.Servers, " ")}.write(w, st)
	}
	fmt.Fprintln(w)
	nodes := namesOf(s).Nodes
	column := len("NAME")
	for _, n := range nodes {
		column = max(column, min(nodeWidth, len(printable(n.Labels[0]))))
	}
	fmt.Fprintln(w, st.dim(padRight("NAME", column)+gap+"ADDRESSES"))
	for _, n := range nodes {
		text := strings.Join(n.Addresses, " ")
		if n.Self {
			text += " (this node)"
		}
		head := padRight(shorten(printable(n.Labels[0]), column), column) + gap
		writeHanging(w, head, head, printable(text))
		if len(n.Labels) > 1 {
			writeWrapped(w, 4, "also "+printable(strings.Join(n.Labels[1:], ", ")))
		}
	}
}
