package control

import (
	"fmt"
	"strings"
)

// heldNames is names.json: who holds which label on this host.
type heldNames struct {
	Comment string            `json:"comment"`
	Held    map[string]string `json:"held"` // id by label
}

// maxHeldNames bounds the file: every member with its name and all of its aliases.
const maxHeldNames = maxMembers * 9

// loadNames goes on without a damaged file: that costs no more than who was met
// first, and a notice tells.
func loadNames(stateDir, network string) (held map[string]string, notice string, err error) {
	var f heldNames
	path, damage, err := readState(stateDir, network, "names.json", &f)
	if err != nil {
		return nil, "", fmt.Errorf("read who holds which name: %w", err)
	}
	damaged := "%s was damaged (%.200v) and is written anew: a name that several nodes ask for may mean another of them now, see \"credant dns\""
	if damage != nil {
		return nil, fmt.Sprintf(damaged, path, damage), nil
	}
	for label, id := range f.Held {
		if ValidNodeName(label) != nil || !isID(id) || len(f.Held) > maxHeldNames {
			return nil, fmt.Sprintf(damaged, path, fmt.Sprintf("%.80q for %.80q", label, id)), nil
		}
	}
	return f.Held, "", nil
}

func saveNames(stateDir, network string, held map[string]string) error {
	f := heldNames{Comment: "which node is meant by a name on this host: who had it first", Held: held}
	if err := writeState(stateDir, network, "names.json", replaceFile, f); err != nil {
		return fmt.Errorf("remember who holds which name: %w", err)
	}
	return nil
}

// isID tells whether s is the id of some node: 16 characters of base32.
func isID(s string) bool {
	return len(s) == 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
