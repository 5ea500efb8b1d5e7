package relayd

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/credant/credant/relay/wire"
)

// keyFile is in the state directory, 0600: one line of base64. Whoever has it
// can pose as this relay; no network's secret follows from it.
const keyFile = "relay.key"

// Key returns the identity of the relay that keeps its state in the directory,
// and makes one where there is none.
func Key(stateDir string) (wire.ServerPublic, error) {
	k, _, err := loadKey(stateDir)
	return k.Public(), err
}

// loadKey reads the relay's identity, or makes it at the first start. A file
// that is damaged is never replaced: every node that was given the old key would
// refuse the relay.
func loadKey(stateDir string) (k wire.ServerPrivate, made bool, err error) {
	path := filepath.Join(stateDir, keyFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k = wire.GenerateServer()
		line := base64.StdEncoding.EncodeToString(k.Seed()) + "\n"
		return k, true, writeNew(stateDir, keyFile, []byte(line))
	case err != nil:
		return k, false, fmt.Errorf("read the relay's key: %w: run this as root or as the user of the service, or choose another folder with --state-dir", err)
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err == nil {
		if k, err = wire.ParseServerPrivate(seed); err == nil {
			return k, false, nil
		}
	}
	return k, false, fmt.Errorf("the relay's key in %s is damaged (%w): restore the file; or move it away to have a new key, and give every node the new --relay line", path, err)
}

// writeNew creates a file that must not exist yet, whole or not at all.
func writeNew(dir, name string, content []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateProblem("make the state folder", err)
	}
	tmp, err := os.CreateTemp(dir, name+"-*") // 0600
	if err != nil {
		return stateProblem("write "+name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return stateProblem("write "+name, err)
	}
	// A link refuses to replace, which a rename would do silently.
	if err := os.Link(tmp.Name(), filepath.Join(dir, name)); err != nil {
		return stateProblem("write "+name, err)
	}
	return nil
}

// replace writes a file that may be there already, whole or not at all.
func replace(dir, name string, content []byte) error {
	tmp, err := os.CreateTemp(dir, name+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, name))
}

func stateProblem(what string, err error) error {
	return fmt.Errorf("%s: %w: run this as root, or choose a folder that can be written with --state-dir", what, err)
}
