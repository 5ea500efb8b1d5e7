package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Layers fill the settings of a program. A setting has the value of its flag,
// else of its environment variable, else of the settings file, else its
// default.
type Layers struct {
	// Flags are the settings, some of which the command line has set. Hidden
	// ones have no other layer.
	Flags *pflag.FlagSet
	// Wanted are those that the command has a use for. The others are known in a
	// file, and left alone. Nil: all.
	Wanted *pflag.FlagSet
	// FileOnly are settings of the file alone; those of a table are named
	// TABLE.KEY. Nil: none.
	FileOnly *pflag.FlagSet
	// Refused are keys of a file that are not settings, each with the reason.
	Refused map[string]string
	// Origins gets where each value came from: the flag, the variable, or the
	// line of the file. Nil: nobody asks.
	Origins map[string]string
}

// FromEnvironment takes PREFIX_NAME for each setting that has no flag. Lists
// are separated by commas or spaces; an empty variable counts as unset.
func (l Layers) FromEnvironment(prefix string, getenv func(string) string) error {
	var err error
	l.Flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			l.note(f.Name, "--"+f.Name)
			return
		}
		variable := prefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		text := getenv(variable)
		if text == "" || f.Hidden || err != nil || !l.wants(f) {
			return
		}
		texts := []string{text}
		if _, list := f.Value.(repeatable); list {
			texts = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		}
		err = l.set(l.Flags, f, variable, texts)
	})
	return err
}

// FromFile takes the rest from the settings file that holds b. Keys that are
// not known are refused, whether the command has a use for them or not.
func (l Layers) FromFile(path string, b []byte) error {
	entries, err := ParseFile(b, l.Tables()...)
	if err != nil {
		return Usagef("%s:%v", path, err)
	}
	for _, e := range entries {
		origin := fmt.Sprintf("%s:%d: %s", path, e.Line, e.Name)
		if why := l.Refused[e.Name]; why != "" {
			return Usagef("%s: %s", origin, why)
		}
		fs, f := l.find(e.Name)
		switch {
		case f == nil || f.Hidden:
			return Usagef("%s:%d: unknown setting %q%s", path, e.Line, e.Name, DidYouMean(Nearest(e.Name, l.Names())))
		case f.Changed || fs == l.Flags && !l.wants(f):
			continue
		}
		if _, list := f.Value.(repeatable); !list && len(e.Texts) != 1 {
			return Usagef("%s: one value is needed", origin)
		}
		if err := l.set(fs, f, origin, e.Texts); err != nil {
			return err
		}
	}
	return nil
}

func (l Layers) wants(f *pflag.Flag) bool {
	return l.Wanted == nil || l.Wanted.Lookup(f.Name) != nil
}

func (l Layers) note(name, origin string) {
	if l.Origins != nil {
		l.Origins[name] = origin
	}
}

func (l Layers) find(name string) (*pflag.FlagSet, *pflag.Flag) {
	if f := l.Flags.Lookup(name); f != nil || l.FileOnly == nil {
		return l.Flags, f
	}
	return l.FileOnly, l.FileOnly.Lookup(name)
}

// Tables are those that a settings file may have.
func (l Layers) Tables() []string {
	var tables []string
	for _, name := range l.Names() {
		if table, _, ok := strings.Cut(name, "."); ok && !slices.Contains(tables, table) {
			tables = append(tables, table)
		}
	}
	return tables
}

// Names are the keys that a settings file may have.
func (l Layers) Names() []string {
	var names []string
	note := func(f *pflag.Flag) {
		if !f.Hidden && l.Refused[f.Name] == "" {
			names = append(names, f.Name)
		}
	}
	l.Flags.VisitAll(note)
	if l.FileOnly != nil {
		l.FileOnly.VisitAll(note)
	}
	return names
}

func (l Layers) set(fs *pflag.FlagSet, f *pflag.Flag, origin string, texts []string) error {
	l.note(f.Name, origin)
	for _, t := range texts {
		if err := fs.Set(f.Name, t); err != nil {
			var invalid *pflag.InvalidValueError
			if errors.As(err, &invalid) {
				err = errors.Unwrap(invalid)
			}
			return badValue(origin, f, t, err)
		}
	}
	return nil
}
