package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control"
	"github.com/credant/credant/discovery/keys"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"
)

// upWith runs `up --foreground` of a node that only notes its configuration.
func upWith(t *testing.T, file string, environ []string, args ...string) control.Config {
	t.Helper()
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "default.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var got control.Config
	var stderr strings.Builder
	p := &program{
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr,
		environ: environ, etc: etc, run: t.TempDir(),
		node: node{
			preflight: func(control.Config) error { return nil },
			hasKey:    func(string, string) (bool, error) { return true, nil },
			join: func(context.Context, string, string, []byte) (keys.NetworkKey, error) {
				return keys.NetworkKey{}, nil
			},
			run: func(_ context.Context, c control.Config, _ func()) error { got = c; return nil },
		},
	}
	if code := p.execute(t.Context(), append([]string{"up", "--foreground"}, args...)); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return got
}

func TestPrecedence(t *testing.T) {
	const (
		inFile = `name = "file"`
		inEnv  = "CREDANT_NAME=env"
		asFlag = "--name=flag"
	)
	tests := []struct {
		name    string
		file    string
		environ []string
		args    []string
		want    string
	}{
		{"default", "", nil, nil, ""},
		{"file", inFile, nil, nil, "file"},
		{"environment", "", []string{inEnv}, nil, "env"},
		{"flag", "", nil, []string{asFlag}, "flag"},
		{"environment over file", inFile, []string{inEnv}, nil, "env"},
		{"flag over file", inFile, nil, []string{asFlag}, "flag"},
		{"flag over environment", "", []string{inEnv}, []string{asFlag}, "flag"},
		{"flag over all", inFile, []string{inEnv}, []string{asFlag}, "flag"},
		{"empty variable is none", inFile, []string{"CREDANT_NAME="}, nil, "file"},
		{"last of two variables", "", []string{inEnv, "CREDANT_NAME=later"}, nil, "later"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := upWith(t, tt.file, tt.environ, tt.args...).Name; got != tt.want {
				t.Errorf("name %q, want %q", got, tt.want)
			}
		})
	}
}

// A list comes from one place alone; it is not collected from all.
func TestListsAreReplaced(t *testing.T) {
	file := `bootstrap = ["file.example:1", "file.example:2"]`
	environ := []string{"CREDANT_BOOTSTRAP=env.example:1, env.example:2"}
	tests := []struct {
		name    string
		environ []string
		args    []string
		want    []string
	}{
		{"file", nil, nil, []string{"file.example:1", "file.example:2"}},
		{"environment", environ, nil, []string{"env.example:1", "env.example:2"}},
		{"flags", environ, []string{"--bootstrap", "flag.example:1", "--bootstrap=[2001:db8::1]:2"}, []string{"flag.example:1", "[2001:db8::1]:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, upWith(t, file, tt.environ, tt.args...).Bootstrap); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBooleansCanBeSetBack(t *testing.T) {
	file := "no-dht = true\nno-lan = true\nno-stun = true"
	got := upWith(t, file, []string{"CREDANT_NO_LAN=false"}, "--no-dht=false")
	if got.NoDHT || got.NoLAN || !got.NoSTUN {
		t.Errorf("no-dht %v, no-lan %v, no-stun %v; want false, false, true", got.NoDHT, got.NoLAN, got.NoSTUN)
	}
}

// The manual of the settings is a settings file that works, and names all.
func TestReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := cli.ParseFile(b)
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, e := range entries {
		explained = append(explained, e.Name)
	}
	var set settings
	p := program{flags: set.flagSet()}
	sorted := cmpopts.SortSlices(strings.Compare)
	if diff := cmp.Diff(p.layers(&cobra.Command{}).Names(), explained, sorted); diff != "" {
		t.Errorf("settings and docs/reference.toml (-settings +reference):\n%s", diff)
	}
	upWith(t, strings.Replace(string(b), `passphrase-file = "/root/home.passphrase"`, "", 1), nil)
}

// What a daemon in the background is started with gives it the settings that
// its `up` had, from whichever place.
func TestArgumentsCarryEverySetting(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	var set settings
	fs := set.flagSet()
	if err := (cli.Layers{Flags: fs}).FromFile("reference.toml", b); err != nil {
		t.Fatal(err)
	}
	var again settings
	args := cli.Arguments(fs)
	if err := again.flagSet().Parse(args); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if diff := cmp.Diff(set.config(nil), again.config(nil), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-file +arguments):\n%s", diff)
	}
	if i := slices.IndexFunc(cli.Arguments(fs, "socket"), func(a string) bool { return strings.HasPrefix(a, "--socket") }); i >= 0 {
		t.Error("an argument that was left out is there")
	}
}
