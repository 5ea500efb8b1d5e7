package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	path := filepath.Join(networkDir(stateDir, network), "names.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read who holds which name: %w", err)
	}
	var f heldNames
	damaged := "%s was damaged (%.200v) and is written anew: a name that several nodes ask for may mean another of them now, see \"credant dns\""
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Sprintf(damaged, path, err), nil
	}
	for label, id := range f.Held {
		if ValidNodeName(label) != nil || !isID(id) || len(f.Held) > maxHeldNames {
			return nil, fmt.Sprintf(damaged, path, fmt.Sprintf("%.80q for %.80q", label, id)), nil
		}
	}
	return f.Held, "", nil
}

func saveNames(stateDir, network string, held map[string]string) error {
	b, err := json.MarshalIndent(heldNames{Comment: "which node is meant by a name on this host: who had it first", Held: held}, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(networkDir(stateDir, network), "names.json"), append(b, '\n')); err != nil {
		return fmt.Errorf("remember who holds which name: %w", err)
	}
	return nil
}

// isID tells whether s is the id of some node: 16 characters of base32.
func isID(s string) bool {
	return len(s) == 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
