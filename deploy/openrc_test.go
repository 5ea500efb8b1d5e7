package deploy

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/credant/credant/integration/strict"
)

// openRC is where integration/deps has unpacked OpenRC.
func openRC(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		strict.Skip(t, "OpenRC is tried in namespaces: that takes root")
	}
	cache := os.Getenv("CREDANT_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "credant")
	}
	path := filepath.Join(cache, "openrc")
	if _, err := os.Stat(filepath.Join(path, "usr/sbin/openrc-run")); err != nil {
		strict.Skip(t, "OpenRC is not unpacked: run integration/deps")
	}
	return path
}

// The script under the real OpenRC: a restart hands over, a stop takes all away,
// what was killed comes back.
func TestOpenRC(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
		"bash", "testdata/openrc.sh", openRC(t), "testdata/openrc-service.sh")
	c.WaitDelay = 10 * time.Second
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	if err := c.Run(); err != nil || out.Len() > 0 {
		t.Errorf("%v\n%s\nbeside it:\n%s", err, out.String(), complaints.String())
	}
}
