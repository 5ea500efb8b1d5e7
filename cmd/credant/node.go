package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

// The daemon resolves NODE. What follows is for the person who mistyped it.

// isSelf tells whether a person means the node on which the command runs.
func isSelf(s localapi.Status, node string) bool {
	if node == "" {
		return false
	}
	self := s.Self
	if asked, err := netip.ParseAddr(node); err == nil {
		for _, a := range self.Addresses {
			if own, err := netip.ParseAddr(a); err == nil && own == asked {
				return true
			}
		}
		return false
	}
	node = strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(node, ".")), "."+s.Network+".internal")
	return self.Name == node || self.ID == node || slices.Contains(self.Names, node)
}

// notFound adds to the daemon's refusal of a node what may have been meant.
func (p *program) notFound(ctx context.Context, node string, err error) error {
	s, statusErr := p.statusNow(ctx)
	if statusErr != nil {
		return err
	}
	if isSelf(s, node) {
		return fmt.Errorf("%s is this node: name another one, %q lists them", node, p.withNetwork("credant status"))
	}
	names := peerNames(s)
	if slices.Contains(names, node) {
		return err // found: the trouble is another
	}
	if near := cli.Nearest(node, names); len(near) > 0 {
		return fmt.Errorf("no node %q in network %s%s", node, s.Network, cli.DidYouMean(near))
	}
	return err
}

func peerNames(s localapi.Status) []string {
	var names []string
	for _, peer := range s.Peers {
		if peer.Name != "" {
			names = append(names, printable(peer.Name))
		}
	}
	return names
}

// listed joins the first few of the words.
func listed(words []string, atMost int) string {
	if len(words) > atMost {
		return strings.Join(words[:atMost], ", ") + fmt.Sprintf(" and %d more", len(words)-atMost)
	}
	return strings.Join(words, ", ")
}

// nodeNames are the words that complete NODE in a shell. A shell shows no
// errors, so there are none.
func (p *program) nodeNames(cmd *cobra.Command, args []string) []string {
	if len(args) > 0 || p.resolveRunning(cmd) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := p.client().Status(ctx)
	if err != nil {
		return nil
	}
	return peerNames(s)
}
