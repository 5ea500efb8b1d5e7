package control

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// readState reads a JSON file of the network's folder, where there is one. What
// cannot be understood of it is damage, which each file takes in its own way.
func readState(stateDir, network, name string, into any) (path string, damage, err error) {
	path = filepath.Join(networkDir(stateDir, network), name)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil, nil
	case err != nil:
		return path, nil, err
	}
	return path, json.Unmarshal(b, into), nil
}

// writeState writes such a file by replace, which is replaceFile or
// replaceFileDurably.
func writeState(stateDir, network, name string, replace func(path string, content []byte) error, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(networkDir(stateDir, network), name), append(b, '\n'))
}
