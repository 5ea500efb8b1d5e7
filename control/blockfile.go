package control

import (
	"fmt"
)

// blockedNodes is blocked.json.
type blockedNodes struct {
	Comment string        `json:"comment"`
	Blocked []blockedNode `json:"blocked"`
}

// loadBlocked refuses a damaged file: to go on without it would let in whom the user
// has shut out.
func loadBlocked(stateDir, network string) ([]blockedNode, error) {
	var f blockedNodes
	path, damage, err := readState(stateDir, network, "blocked.json", &f)
	if err != nil {
		return nil, fmt.Errorf("read which nodes are blocked: %w", err)
	}
	if err := damage; err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): mend or remove it, and block those nodes again", path, err)
	}
	for _, n := range f.Blocked {
		if !isID(n.ID) || n.Name != "" && ValidNodeName(n.Name) != nil || len(f.Blocked) > maxBlocked {
			return nil, fmt.Errorf("%s is damaged (%.80q): mend or remove it, and block those nodes again", path, n.ID)
		}
	}
	return f.Blocked, nil
}

func saveBlocked(stateDir, network string, all []blockedNode) error {
	f := blockedNodes{Comment: "nodes that this one has nothing to do with", Blocked: all}
	if err := writeState(stateDir, network, "blocked.json", replaceFileDurably, f); err != nil {
		return fmt.Errorf("remember which nodes are blocked: %w", err)
	}
	return nil
}
