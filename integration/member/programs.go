package member

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Main runs a package's tests, which m is, with the programs at hand, and returns the exit code for TestMain. It tells
// ready where they are; what is in dir vanishes with the tests.
func Main(m interface{ Run() int }, ready func(dir, node, relay string) error) int {
	code, err := run(m, ready)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m interface{ Run() int }, ready func(dir, node, relay string) error) (int, error) {
	dir, err := os.MkdirTemp("", "credant-programs-")
	if err != nil {
		return 0, fmt.Errorf("make a folder for programs: %w", err)
	}
	defer os.RemoveAll(dir)
	node, relay, err := Programs(dir)
	if err != nil {
		return 0, err
	}
	if err := ready(dir, node, relay); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// Programs returns the files of credant and credant-relay: CREDANT_BIN and CREDANT_RELAY_BIN, or what it builds in dir
// where these are not set.
func Programs(dir string) (node, relay string, err error) {
	for _, program := range []struct {
		name, variable string
		path           *string
	}{{"credant", "CREDANT_BIN", &node}, {"credant-relay", "CREDANT_RELAY_BIN", &relay}} {
		if *program.path = os.Getenv(program.variable); *program.path != "" {
			continue
		}
		*program.path = filepath.Join(dir, program.name)
		build := exec.Command("go", "build", "-trimpath", "-o", *program.path, "github.com/credant/credant/cmd/"+program.name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("build %s: %w: %s", program.name, err, out)
		}
	}
	return node, relay, nil
}
