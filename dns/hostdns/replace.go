package hostdns

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// replaceFile writes a file of ours so that it is there whole or not at all. Its
// errors name that file, not the temporary one, and so are the same each time.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(temporary(path)))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = cmp.Or(err, f.Sync()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// temporary is the pattern of the files that replaceFile makes.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".*")
}

// bare is the reason of an error without the operation and the file.
func bare(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
