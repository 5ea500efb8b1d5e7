package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

func TestReference(t *testing.T) {
	root := &cobra.Command{Use: "ant COMMAND", Short: "An ant", RunE: func(*cobra.Command, []string) error { return nil }}
	root.PersistentFlags().String("network", "default", "`NAME` of the network")
	up := &cobra.Command{Use: "up", Short: "Go up", Example: "  ant up", RunE: root.RunE}
	up.Flags().Bool("fast", false, "hurry")
	up.Flags().Bool("secret", false, "")
	if err := up.Flags().MarkHidden("secret"); err != nil {
		t.Fatal(err)
	}
	root.AddCommand(up)
	Finish(root, "ant 1", "up")
	var out bytes.Buffer
	if code := Run(t.Context(), root, []string{"reference"}, nil, &out, io.Discard); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	var got reference
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(got.Commands, func(c reference) bool { return c.Name == "ant up" })
	if got.Name != "ant" || i < 0 {
		t.Fatalf("the reference: %s", out.Bytes())
	}
	c := got.Commands[i]
	if c.Short != "Go up" || c.Example != "  ant up" {
		t.Errorf("the command: %+v", c)
	}
	if !slices.Contains(c.Flags, flagEntry{Name: "fast", Usage: "hurry"}) ||
		!slices.Contains(c.Global, flagEntry{Name: "network", Value: "NAME", Usage: "NAME of the network", Default: "default"}) {
		t.Errorf("its flags: %+v, of all: %+v", c.Flags, c.Global)
	}
	hidden := func(f flagEntry) bool { return f.Name == "secret" }
	if slices.ContainsFunc(c.Flags, hidden) || slices.ContainsFunc(got.Commands, func(c reference) bool { return c.Name == "ant reference" }) {
		t.Error("what is hidden is shown")
	}
}
