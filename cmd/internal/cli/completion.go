package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

// completionCommand is cobra's `completion`, with the shell as its argument
// and an exit code for one that it does not know.
func completionCommand(program string) *cobra.Command {
	example := `  source <(PROGRAM completion bash)     for this shell alone
  PROGRAM completion bash | sudo tee /etc/bash_completion.d/PROGRAM
  PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
  PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what lets a shell complete the command line",
		Long: `Print the script with which bash, zsh, fish or powershell completes commands,
flags and values when Tab is pressed. A shell reads it when it starts.`,
		Example:   strings.ReplaceAll(example, "PROGRAM", program),
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return Usagef("completion needs one shell: %s", strings.Join(shells, ", "))
			case !slices.Contains(shells, args[0]):
				return Usagef("unknown shell %q: give one of %s", args[0], strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeCompletion(cmd.Root(), args[0], cmd.OutOrStdout())
		},
	}
}

func writeCompletion(root *cobra.Command, shell string, w io.Writer) error {
	switch shell {
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	return root.GenBashCompletionV2(w, true)
}

// Complete offers words as the values of a flag.
func Complete(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
}

// completeFlags offers files for the flags that take one alone.
func completeFlags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		kind := f.Value.Type()
		if _, known := cmd.GetFlagCompletionFunc(f.Name); !known && kind != "FILE" && kind != "PATH" {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // fails only for a flag that is not there
		}
	})
}
