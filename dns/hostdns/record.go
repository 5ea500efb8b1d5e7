package hostdns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// record is what there is to undo. It is written before the host is changed.
type record struct {
	// Link is the interface whose settings in systemd-resolved are ours.
	Link string `json:"link,omitempty"`
	// Resolvconf is the name under which resolvconf has servers of ours.
	Resolvconf string `json:"resolvconf,omitempty"`
	// Hosts tells of a block in /etc/hosts.
	Hosts bool `json:"hosts,omitempty"`
}

// loadRecord takes a record that cannot be read for one that says nothing: all
// of it can be undone by the network's name and interface.
func loadRecord(path string) (record, error) {
	var r record
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read what of the host's resolver is to be undone: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("read what of the host's resolver is to be undone: %s: %w", path, err)
	}
	return r, nil
}

func (r record) save(path string) error {
	if r == (record{}) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record that the host's resolver is as it was: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := replaceFile(path, append(b, '\n')); err != nil {
		return fmt.Errorf("record what of the host's resolver is to be undone: %w", err)
	}
	return nil
}
