package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// value is a flag whose text is understood, or refused, when it is set. It
// implements pflag.Value.
type value[T any] struct {
	target *T
	kind   string // how --help names the value
	parse  func(string) (T, error)
	text   string
}

func (v *value[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.target, v.text = t, s
	return nil
}

func (v *value[T]) String() string { return v.text }
func (v *value[T]) Type() string   { return v.kind }

// values is a flag that can be given again and again. It implements
// pflag.Value.
type values[T any] struct {
	target *[]T
	kind   string
	parse  func(string) (T, error)
	texts  []string
}

func (v *values[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.target, v.texts = append(*v.target, t), append(v.texts, s)
	return nil
}

func (v *values[T]) String() string { return strings.Join(v.texts, ",") }
func (v *values[T]) Type() string   { return v.kind }
func (v *values[T]) list() []string { return slices.Clone(v.texts) }

// repeatable is implemented by the flags that take a list.
type repeatable interface{ list() []string }

// Repeatable tells whether a flag takes a list.
func Repeatable(f *pflag.Flag) bool {
	_, list := f.Value.(repeatable)
	return list
}

// One adds a flag with one value. def is what --help shows as the default; the
// value itself is already in target.
func One[T any](fs *pflag.FlagSet, name string, target *T, kind, def string, parse func(string) (T, error), usage string) {
	OneP(fs, name, "", target, kind, def, parse, usage)
}

// OneP is One with a letter for short.
func OneP[T any](fs *pflag.FlagSet, name, short string, target *T, kind, def string, parse func(string) (T, error), usage string) {
	fs.VarP(&value[T]{target: target, kind: kind, parse: parse, text: def}, name, short, usage)
}

// Many adds a flag that can be given again and again.
func Many[T any](fs *pflag.FlagSet, name string, target *[]T, kind string, parse func(string) (T, error), usage string) {
	fs.Var(&values[T]{target: target, kind: kind, parse: parse}, name, usage)
}

// Arguments are those that set in another set of the same flags what was set in
// this one, from wherever, but for hidden flags and the ones named.
func Arguments(fs *pflag.FlagSet, except ...string) []string {
	var args []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || f.Hidden || slices.Contains(except, f.Name) {
			return
		}
		texts := []string{f.Value.String()}
		if l, ok := f.Value.(repeatable); ok {
			texts = l.list()
		}
		for _, t := range texts {
			args = append(args, "--"+f.Name+"="+t)
		}
	})
	return args
}
