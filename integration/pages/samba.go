package pages

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

var startsSamba = regexp.MustCompile(`\bsmbd\b`)

// writeSamba puts Samba's server, which integration/deps has unpacked, into the folder with the programs: pages that
// share files need it, and a package of it that is installed would serve this machine's. Where it is missing, those
// pages cannot be tried.
func writeSamba(dir string) error {
	cache := os.Getenv("CREDANT_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("look for the cache: %w", err)
		}
		cache = filepath.Join(user, "credant")
	}
	// A copy, since the scenes' hosts do not see a cache in /root.
	program, err := os.ReadFile(filepath.Join(cache, "debian/samba/usr/sbin/smbd"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "smbd"), program, 0o755)
	}
	if err != nil {
		return fmt.Errorf("copy smbd: %w", err)
	}
	return nil
}

// needsSamba says whether a page runs Samba's server.
func needsSamba(p page) bool {
	for _, s := range p.steps {
		if startsSamba.MatchString(s.command) {
			return true
		}
	}
	return false
}
