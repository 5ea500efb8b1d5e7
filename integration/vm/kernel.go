package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Kernel is an unpacked Debian kernel: DIR/vmlinuz beside what belongs in /lib/modules/VERSION.
type Kernel struct {
	Version string
	Dir     string
}

// ErrNoKernel says that the cache holds no kernel yet.
var ErrNoKernel = errors.New("no kernel for the VM in the cache: run integration/deps")

// CacheDir is where integration/deps puts what it fetched.
func CacheDir() (string, error) {
	if dir := os.Getenv("CREDANT_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	return filepath.Join(dir, "credant"), nil
}

// FindKernel returns the last kernel in the cache, by name, or ErrNoKernel.
func FindKernel() (Kernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	found, err := filepath.Glob(filepath.Join(cache, "kernel", "*", "vmlinuz"))
	if err != nil || len(found) == 0 {
		return Kernel{}, ErrNoKernel
	}
	dir := filepath.Dir(slices.Max(found))
	return Kernel{Version: filepath.Base(dir), Dir: dir}, nil
}

// modules returns the files of the named modules and of all they need, in an order in which they can be inserted.
// Names that are built into the kernel are left out.
func (k Kernel) modules(names ...string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(k.Dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read module list: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.Dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read built-in module list: %w", err)
	}
	return orderModules(string(raw), string(builtin), names)
}

func orderModules(dep, builtin string, names []string) ([]string, error) {
	needs := make(map[string][]string)
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		// A module's line lists what it needs, nearest first: the last one has to be inserted first.
		files := append([]string{file}, strings.Fields(rest)...)
		slices.Reverse(files)
		needs[moduleName(file)] = files
	}
	for line := range strings.Lines(builtin) {
		name := moduleName(strings.TrimSpace(line))
		needs[name] = needs[name][:0]
	}
	var order []string
	for _, name := range names {
		files, ok := needs[name]
		if !ok {
			return nil, fmt.Errorf("find module %s: the kernel has none", name)
		}
		for _, file := range files {
			if !slices.Contains(order, file) {
				order = append(order, file)
			}
		}
	}
	return order, nil
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}
