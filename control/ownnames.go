package control

import (
	"errors"
	"fmt"
	"slices"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// ownNames are what this node asks to be called, and whom it was told to
// forget: what people say to a running daemon and want kept.
type ownNames struct {
	// Name was given by rename; empty: the host's.
	Name    string   `json:"name,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
	// Forgotten are nodes with the number of the record that is not to come
	// back. It is bounded by maxForgotten.
	Forgotten []forgotten `json:"forgotten,omitempty"`
}

type forgotten struct {
	Node keys.NodePublic `json:"node"`
	Seq  uint64          `json:"seq"`
}

const (
	maxForgotten = 256
	// maxAliasBytes leaves room in the record for what makes a node reachable.
	maxAliasBytes = 160
)

const ownNamesFile = "own-names.json"

func loadOwnNames(stateDir, network string) (ownNames, error) {
	var o ownNames
	path, err, readErr := readState(stateDir, network, ownNamesFile, &o)
	if readErr != nil {
		return ownNames{}, fmt.Errorf("read this node's names: %w", readErr)
	}
	if err == nil && o.Name != "" {
		err = ValidNodeName(o.Name)
	}
	for _, a := range o.Aliases {
		err = errors.Join(err, ValidNodeName(a))
	}
	if err == nil && (len(o.Aliases) > wire.MaxAliases || len(o.Forgotten) > maxForgotten) {
		err = errors.New("too long a list")
	}
	if err != nil {
		return ownNames{}, fmt.Errorf("%s is damaged (%w): remove it, then rename the node and add its extra names again", path, err)
	}
	return o, nil
}

func (o ownNames) save(stateDir, network string) error {
	if err := writeState(stateDir, network, ownNamesFile, replaceFileDurably, o); err != nil {
		return fmt.Errorf("keep this node's names: %w", err)
	}
	return nil
}

// withAlias returns the names with one more, or why there can be none.
func (o ownNames) withAlias(name, alias string) (ownNames, error) {
	if err := validAlias(alias); err != nil {
		return o, err
	}
	bytes := len(alias)
	for _, a := range o.Aliases {
		bytes += len(a)
	}
	switch {
	case alias == name:
		return o, fmt.Errorf("%q is this node's name already", alias)
	case slices.Contains(o.Aliases, alias):
		return o, nil
	case len(o.Aliases) >= wire.MaxAliases:
		return o, fmt.Errorf("a node has at most %d extra names: take one away with \"credant dns remove\"", wire.MaxAliases)
	case bytes > maxAliasBytes:
		return o, fmt.Errorf("the extra names of a node have at most %d letters together: choose shorter ones, or take one away with \"credant dns remove\"", maxAliasBytes)
	}
	o.Aliases = append(slices.Clone(o.Aliases), alias)
	return o, nil
}

func (o ownNames) withoutAlias(alias string) (ownNames, error) {
	i := slices.Index(o.Aliases, alias)
	if i < 0 {
		return o, fmt.Errorf("this node has no extra name %q: \"credant dns\" lists them", alias)
	}
	o.Aliases = slices.Delete(slices.Clone(o.Aliases), i, i+1)
	return o, nil
}

// renamed returns the names with another one of the node. An alias of that
// name is one no longer.
func (o ownNames) renamed(name string) ownNames {
	o.Name = name
	o.Aliases = slices.DeleteFunc(slices.Clone(o.Aliases), func(a string) bool { return a == name })
	return o
}

// forgetting returns the names with a record that is not to come back. The
// oldest is let go where there are too many: it has most likely expired.
func (o ownNames) forgetting(node keys.NodePublic, seq uint64) ownNames {
	o.Forgotten = slices.DeleteFunc(slices.Clone(o.Forgotten), func(f forgotten) bool { return f.Node == node })
	if over := len(o.Forgotten) + 1 - maxForgotten; over > 0 {
		o.Forgotten = o.Forgotten[over:]
	}
	o.Forgotten = append(o.Forgotten, forgotten{node, seq})
	return o
}

func validAlias(alias string) error {
	if ValidNodeName(alias) != nil {
		return fmt.Errorf("name %q: 1 to 63 of a-z, 0-9 and - are needed, with no - at the ends", alias)
	}
	return nil
}
