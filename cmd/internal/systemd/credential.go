package systemd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Credential is the path of a credential that the manager has given to this
// service under the name, or empty; directory is the value of
// CREDENTIALS_DIRECTORY.
func Credential(directory, name string) string {
	if directory == "" {
		return ""
	}
	path := filepath.Join(directory, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path // what else is wrong with it, reading tells
}
