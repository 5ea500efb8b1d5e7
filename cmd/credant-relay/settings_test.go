package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
)

// started is what the daemon would be started with.
func started(t *testing.T, file string, environ []string, args ...string) relayd.Config {
	t.Helper()
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "credant-relay.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var got relayd.Config
	var stderr strings.Builder
	p := &program{
		args: args, stdout: io.Discard, stderr: &stderr, environ: environ, etc: etc,
		relay: func(_ context.Context, c relayd.Config, _ func(relayd.Info)) error { got = c; return nil },
	}
	if code := p.execute(t.Context()); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return got
}

func TestDefaults(t *testing.T) {
	got := started(t, "", nil)
	want := relayd.Config{
		Version: got.Version,
		Port:    3478, STUNPort: 3479, Ports: relayd.PortRange{First: 20000, Last: 21023},
		StateDir: "/var/lib/credant-relay", Grace: 5 * time.Second,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(relayd.Config{}, "Level", "Log", "Reloads"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPrecedence(t *testing.T) {
	const (
		inFile = "port = 1001"
		inEnv  = "CREDANT_RELAY_PORT=1002"
		asFlag = "--port=1003"
	)
	tests := []struct {
		name    string
		file    string
		environ []string
		args    []string
		want    uint16
	}{
		{"file", inFile, nil, nil, 1001},
		{"environment over file", inFile, []string{inEnv}, nil, 1002},
		{"flag over all", inFile, []string{inEnv}, []string{asFlag}, 1003},
		{"empty variable is none", inFile, []string{"CREDANT_RELAY_PORT="}, nil, 1001},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := started(t, tt.file, tt.environ, tt.args...).Port; got != tt.want {
				t.Errorf("port %d, want %d", got, tt.want)
			}
		})
	}
}

// A list comes from one place alone; it is not collected from all.
func TestListsAreReplaced(t *testing.T) {
	file := `dht-bootstrap = ["file.example:1", "file.example:2"]`
	environ := []string{"CREDANT_RELAY_DHT_BOOTSTRAP=env.example:1, env.example:2"}
	for _, tt := range []struct {
		environ, args []string
		want          []string
	}{
		{nil, nil, []string{"file.example:1", "file.example:2"}},
		{environ, nil, []string{"env.example:1", "env.example:2"}},
		{environ, []string{"--dht-bootstrap", "flag.example:1", "--dht-bootstrap=[2001:db8::1]:2"}, []string{"flag.example:1", "[2001:db8::1]:2"}},
	} {
		if diff := cmp.Diff(tt.want, started(t, file, tt.environ, tt.args...).DHTBootstrap); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// The manual of the settings is a settings file that works, names all, and has
// the defaults that it speaks of.
func TestReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/credant-relay.toml")
	if err != nil {
		t.Fatal(err)
	}
	var s settings
	layers := cli.Layers{Flags: s.flagSet(), FileOnly: s.quotaSet()}
	entries, err := cli.ParseFile(b, layers.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, e := range entries {
		explained = append(explained, e.Name)
	}
	want := append(explained, "config") // which names the file
	if diff := cmp.Diff(layers.Names(), want, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("settings and docs/credant-relay.toml (-settings +reference):\n%s", diff)
	}
	got := started(t, string(b), nil)
	if diff := cmp.Diff(relayd.DefaultStranger, got.Stranger); diff != "" {
		t.Errorf("quota of strangers (-default +reference):\n%s", diff)
	}
	if diff := cmp.Diff(relayd.DefaultMember, got.Member); diff != "" {
		t.Errorf("quota of members (-default +reference):\n%s", diff)
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]uint64{"10 Mbit/s": 1.25e6, "1.5Gbit/s": 187.5e6, "8 kbit/s": 1000} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("parseRate(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "10", "Mbit/s", "-1 Mbit/s", "0 Mbit/s", "NaN Mbit/s", "1e99 Gbit/s", "10 MB/s"} {
		if got, err := parseRate(s); err == nil {
			t.Errorf("parseRate(%q) = %d", s, got)
		}
	}
}
