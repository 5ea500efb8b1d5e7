package localapi

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func (s *stub) Block(_ context.Context, node string) (BlockedNode, error) {
	if node != "nas" {
		return BlockedNode{}, errors.New("no such node")
	}
	return BlockedNode{ID: "abcdefghijklmnop", Name: "nas"}, nil
}

func (s *stub) Unblock(_ context.Context, node string) (BlockedNode, error) {
	return BlockedNode{}, errors.New("no node " + node + " is blocked")
}

func TestBlock(t *testing.T) {
	c := NewClient(serve(t, &stub{}))
	if n, err := c.Block(t.Context(), "nas"); err != nil || n.Name != "nas" || n.ID == "" {
		t.Errorf("block: %+v, %v", n, err)
	}
	if _, err := c.Block(t.Context(), "nobody"); err == nil || err.Error() != "no such node" {
		t.Errorf("block nobody: %v", err)
	}
	if _, err := c.Unblock(t.Context(), "a b"); err == nil || !strings.Contains(err.Error(), "no node a b") {
		t.Errorf("unblock: %v", err)
	}
}
