package member

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

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
