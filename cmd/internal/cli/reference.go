package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// reference is one command as its manual page needs it. The packages' builder
// reads it: it cannot import a program.
type reference struct {
	Name     string      `json:"name"` // the whole path: credant up
	Usage    string      `json:"usage"`
	Short    string      `json:"short"`
	Long     string      `json:"long,omitempty"`
	Example  string      `json:"example,omitempty"`
	Flags    []flagEntry `json:"flags,omitempty"`
	Global   []flagEntry `json:"global,omitempty"` // flags of every command
	Commands []reference `json:"commands,omitempty"`
}

type flagEntry struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand,omitempty"`
	Value     string `json:"value,omitempty"` // empty: a switch
	Usage     string `json:"usage"`
	Default   string `json:"default,omitempty"`
}

// referenceCommand prints every command and flag, for the manual pages.
func referenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "reference",
		Short:  "Print every command and flag as JSON",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(referenceOf(cmd.Root())); err != nil {
				return fmt.Errorf("print reference: %w", err)
			}
			return nil
		},
	}
}

func referenceOf(cmd *cobra.Command) reference {
	r := reference{
		Name:    cmd.CommandPath(),
		Usage:   cmd.UseLine(),
		Short:   cmd.Short,
		Long:    cmd.Long,
		Example: cmd.Example,
		Flags:   flagEntries(cmd.LocalFlags()),
		Global:  flagEntries(cmd.InheritedFlags()),
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			r.Commands = append(r.Commands, referenceOf(c))
		}
	}
	return r
}

func flagEntries(flags *pflag.FlagSet) []flagEntry {
	var entries []flagEntry
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		e := flagEntry{Name: f.Name, Shorthand: f.Shorthand, Value: value, Usage: usage}
		if f.Value.Type() != "bool" && f.Value.Type() != "count" && f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "0" {
			e.Default = f.DefValue
		}
		entries = append(entries, e)
	})
	return entries
}
