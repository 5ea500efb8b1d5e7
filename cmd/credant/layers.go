package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A setting has the value of its flag, else of its environment variable, else
// of the network's settings file, else its default.

// fromEnvironment takes CREDANT_NAME for each setting of the command that has
// no flag. Lists are separated by commas or spaces.
func (p *program) fromEnvironment(cmd *cobra.Command) error {
	p.origins = map[string]string{}
	var err error
	p.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			p.origins[f.Name] = "--" + f.Name
			return
		}
		variable := "CREDANT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		text := p.getenv(variable)
		if text == "" || f.Hidden || err != nil || cmd.Flags().Lookup(f.Name) == nil {
			return
		}
		texts := []string{text}
		if _, list := f.Value.(repeatable); list {
			texts = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		}
		err = p.setFrom(f, variable, texts)
	})
	return err
}

// fromFile takes the rest from /etc/credant/NETWORK.toml. Keys that are not
// known are refused whichever command reads the file.
func (p *program) fromFile(cmd *cobra.Command) error {
	path := filepath.Join(p.etc, p.set.network+".toml")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission) && cmd.Flags().Lookup("state-dir") == nil:
		// Only `up` needs all of it; the group credant may ask for the status.
		return nil
	case err != nil:
		return fmt.Errorf("read the settings: %w", err)
	}
	entries, err := parseSettings(b)
	if err != nil {
		return usagef("%s:%v", path, err)
	}
	for _, e := range entries {
		origin := fmt.Sprintf("%s:%d: %s", path, e.line, e.name)
		f := p.flags.Lookup(e.name)
		switch {
		case e.name == "passphrase":
			return usagef("%s: a passphrase does not belong here: name a file with passphrase-file", origin)
		case e.name == "network":
			return usagef("%s: the network is chosen by --network, and with it this file", origin)
		case f == nil || f.Hidden:
			return usagef("%s:%d: unknown setting %q%s", path, e.line, e.name, didYouMean(nearest(e.name, p.settingNames())))
		case f.Changed || cmd.Flags().Lookup(e.name) == nil:
			continue
		}
		if _, list := f.Value.(repeatable); !list && len(e.texts) != 1 {
			return usagef("%s: one value is needed", origin)
		}
		if err := p.setFrom(f, origin, e.texts); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) setFrom(f *pflag.Flag, origin string, texts []string) error {
	p.origins[f.Name] = origin
	for _, t := range texts {
		if err := p.flags.Set(f.Name, t); err != nil {
			var invalid *pflag.InvalidValueError
			if errors.As(err, &invalid) {
				err = errors.Unwrap(invalid)
			}
			return badValue(origin, f, t, err)
		}
	}
	return nil
}

// settingNames are the keys that a settings file may have.
func (p *program) settingNames() []string {
	var names []string
	p.flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "network" {
			names = append(names, f.Name)
		}
	})
	return names
}

// entry is one key of a settings file, its value as a flag would take it.
type entry struct {
	name  string
	line  int
	texts []string
}

// parseSettings reads a settings file: keys with a text, a number, a boolean
// or a list of texts. Errors begin with the line.
func parseSettings(b []byte) ([]entry, error) {
	var raw map[string]any
	if err := toml.Unmarshal(b, &raw); err != nil {
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, _ := d.Position()
			return nil, fmt.Errorf("%d: %s", line, strings.TrimPrefix(d.Error(), "toml: "))
		}
		return nil, fmt.Errorf("1: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	lines := keyLines(b)
	var out []entry
	for name, v := range raw {
		e := entry{name: name, line: lines[name]}
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				text, ok := item.(string)
				if !ok {
					return nil, fmt.Errorf("%d: %s: a list of texts in quotes is needed", e.line, name)
				}
				e.texts = append(e.texts, text)
			}
		case string:
			e.texts = []string{v}
		case int64:
			e.texts = []string{strconv.FormatInt(v, 10)}
		case bool:
			e.texts = []string{strconv.FormatBool(v)}
		default:
			return nil, fmt.Errorf("%d: %s: a text in quotes, a whole number, true or false is needed", e.line, name)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.line, b.line) })
	return out, nil
}

// keyLines finds the line on which each top-level key first stands.
func keyLines(b []byte) map[string]int {
	lines := map[string]int{}
	var parser unstable.Parser
	parser.Reset(b)
	for parser.NextExpression() {
		e := parser.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		key := e.Key()
		if !key.Next() {
			continue
		}
		name := string(key.Node().Data)
		if _, seen := lines[name]; !seen {
			lines[name] = parser.Shape(key.Node().Raw).Start.Line
		}
	}
	return lines
}
