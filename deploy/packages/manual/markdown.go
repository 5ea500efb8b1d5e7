package manual

import (
	"fmt"
	"strings"
)

// Reference is a page of the documentation: everything that a program takes.
// Command says where it is made from.
func Reference(root Command, command, settings string) string {
	var b strings.Builder
	prefix := strings.ToUpper(strings.ReplaceAll(root.Name, "-", "_")) + "_"
	fmt.Fprintf(&b, "<!-- made by: %s -->\n# Reference: %s\n\n%s\n", command, root.Name, markdown(root.Long))
	all := append([]Command{root}, commands(root)...)
	b.WriteString("\n| command | |\n|---|---|\n")
	for _, c := range all {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.Name, name(c), cell(c.Short))
	}
	for _, c := range all {
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s\n```\n", c.Name, c.Usage)
		if c.Name != root.Name && c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", markdown(c.Long))
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", unindent(c.Example))
		}
		flagTable(&b, c.Flags)
	}
	fmt.Fprintf(&b, "\n## Environment and settings file\n\n")
	fmt.Fprintf(&b, "Each of these is a flag, a variable and a key of the settings file; a flag wins over the variable, and the variable over\nthe file. Lists are separated by commas in a variable.\n\n| key | variable |\n|---|---|\n")
	if root.Name == "credant" { // what no file can say
		b.WriteString("| | `CREDANT_NETWORK` |\n| | `CREDANT_PASSPHRASE`: the passphrase itself |\n")
	}
	for _, key := range keys(settings) {
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", key, prefix+strings.ToUpper(strings.ReplaceAll(key, "-", "_")))
	}
	fmt.Fprintf(&b, "\n```toml\n%s```\n\n## Exit codes\n\n| code | |\n|---|---|\n", settings)
	for _, e := range exitCodes {
		if e.of == "" || e.of == root.Name {
			fmt.Fprintf(&b, "| %s | %s |\n", e.code, e.meaning)
		}
	}
	return b.String()
}

// exitCodes are the programs'; of one of them alone where that is named.
var exitCodes = []struct{ code, of, meaning string }{
	{"0", "", "Done."},
	{"1", "", "It could not be done; the last line on standard error says why, and what to do next."},
	{"2", "", "The command line, a variable or a settings file is wrong."},
	{"78", "credant", "The same in a service, which is not started again until that is mended."},
}

// keys are those of a settings file outside of its tables, in its order.
func keys(settings string) []string {
	var found []string
	for line := range strings.Lines(settings) {
		if strings.HasPrefix(line, "[") {
			break
		}
		if key, _, is := strings.Cut(line, " = "); is && !strings.HasPrefix(line, "#") {
			found = append(found, key)
		}
	}
	return found
}

func flagTable(b *strings.Builder, all []Flag) {
	if len(all) == 0 {
		return
	}
	b.WriteString("\n| flag | |\n|---|---|\n")
	for _, f := range all {
		called := "--" + f.Name
		if f.Shorthand != "" {
			called = "-" + f.Shorthand + ", " + called
		}
		if f.Value != "" {
			called += " " + f.Value
		}
		usage := f.Usage
		if f.Default != "" {
			usage += " (default " + f.Default + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", called, cell(usage))
	}
}

// markdown keeps the lines of a help text that are indented as they are.
func markdown(s string) string {
	var out []string
	for paragraph := range strings.SplitSeq(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, " ") {
			paragraph = "```text\n" + unindent(paragraph) + "\n```"
		}
		out = append(out, paragraph)
	}
	return strings.Join(out, "\n\n")
}

// cell is a text in a table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }
