// Package manual writes manual pages, in the man macros that groff and mandoc
// share (man(7)), from what a program says of itself.
package manual

import (
	"fmt"
	"strings"
	"time"
)

// Command is what "credant reference" prints of a command.
type Command struct {
	Name     string    `json:"name"` // the whole path: credant up
	Usage    string    `json:"usage"`
	Short    string    `json:"short"`
	Long     string    `json:"long"`
	Example  string    `json:"example"`
	Flags    []Flag    `json:"flags"`
	Global   []Flag    `json:"global"` // flags of every command
	Commands []Command `json:"commands"`
}

// Flag is one of its flags.
type Flag struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand"`
	Value     string `json:"value"` // empty: a switch
	Usage     string `json:"usage"`
	Default   string `json:"default"`
}

// Program is what all pages of a program share.
type Program struct {
	Version  string
	Date     time.Time
	Settings string // its settings file, each setting explained
}

// Page is one manual page.
type Page struct {
	File string // credant-up.8
	Text []byte
}

// Pages are those of a program: one of its own, one for each command but those
// that explain themselves, and one for its settings file.
func Pages(root Command, p Program) []Page {
	settings := name(root) + ".toml"
	all := []string{reference(name(root), "8")}
	var pages []Page
	for _, c := range commands(root) {
		all = append(all, reference(name(c), "8"))
	}
	all = append(all, reference(settings, "5"))
	for _, c := range append([]Command{root}, commands(root)...) {
		pages = append(pages, Page{name(c) + ".8", page(root, c, p, all)})
	}
	return append(pages, Page{settings + ".5", settingsPage(root, settings, p)})
}

// commands are those with a page, the ones below others included.
func commands(root Command) []Command {
	var found []Command
	for _, c := range root.Commands {
		switch last(c.Name) {
		case "help", "version", "completion":
			continue
		}
		found = append(found, c)
		found = append(found, commands(c)...)
	}
	return found
}

func name(c Command) string { return strings.ReplaceAll(c.Name, " ", "-") }

func last(path string) string { return path[strings.LastIndexByte(path, ' ')+1:] }

func reference(name, section string) string {
	return `\fB` + escape(name) + `\fR(` + section + `)`
}

func page(root, c Command, p Program, all []string) []byte {
	var b strings.Builder
	title(&b, name(c), "8", p)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(name(c)), escape(lower(c.Short)))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", usage(c))
	b.WriteString(".SH DESCRIPTION\n")
	text(&b, or(c.Long, c.Short+"."))
	if len(c.Commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s.\n", escape(strings.TrimPrefix(sub.Name, root.Name+" ")), escape(sub.Short))
		}
	}
	flags(&b, "OPTIONS", c.Flags)
	flags(&b, "OPTIONS OF ALL COMMANDS", c.Global)
	if c.Name == root.Name {
		exitStatus(&b, root.Name)
	}
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		literal(&b, unindent(c.Example))
	}
	b.WriteString(".SH SEE ALSO\n")
	var others []string
	for _, other := range all {
		if other != reference(name(c), "8") {
			others = append(others, other)
		}
	}
	b.WriteString(strings.Join(others, ",\n") + "\n")
	return []byte(b.String())
}

func exitStatus(b *strings.Builder, program string) {
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range exitCodes {
		if e.of == "" || e.of == program {
			fmt.Fprintf(b, ".TP\n%s\n%s\n", e.code, escape(e.meaning))
		}
	}
}

func settingsPage(root Command, settings string, p Program) []byte {
	var b strings.Builder
	title(&b, settings, "5", p)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- settings of %s\n.SH DESCRIPTION\n", escape(settings), escape(root.Name))
	b.WriteString("A TOML file. This one names every setting:\n")
	literal(&b, p.Settings)
	fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", reference(name(root), "8"))
	return []byte(b.String())
}

func title(b *strings.Builder, name, section string, p Program) {
	fmt.Fprintf(b, ".TH \"%s\" \"%s\" \"%s\" \"CredAnt %s\" \"CredAnt\"\n", escape(strings.ToUpper(name)), section, p.Date.Format("2006-01-02"), escape(p.Version))
	// No hyphens in what somebody copies, no stretched lines.
	b.WriteString(".nh\n.ad l\n")
}

func flags(b *strings.Builder, heading string, all []Flag) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", heading)
	for _, f := range all {
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(b, "\\fB\\-%s\\fR, ", f.Shorthand)
		}
		fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", escape(f.Name))
		if f.Value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", escape(f.Value))
		}
		usage := f.Usage
		if f.Default != "" {
			usage += " (default " + f.Default + ")"
		}
		fmt.Fprintf(b, "\n%s\n", escape(sentence(usage)))
	}
}

// usage sets what is typed as it is in bold, and what stands for something else in italics.
func usage(c Command) string {
	words := strings.Fields(c.Usage)
	typed := len(strings.Fields(c.Name))
	for i, word := range words {
		if i < typed {
			words[i] = `\fB` + escape(word) + `\fR`
		} else {
			words[i] = `\fI` + escape(word) + `\fR`
		}
	}
	return strings.Join(words, " ")
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
