package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Entry is one key of a settings file, its value as a flag would take it. A
// key of a table is named TABLE.KEY.
type Entry struct {
	Name  string
	Line  int
	Texts []string
}

// ParseFile reads a settings file: keys with a text, a number, a boolean or a
// list of texts, and those of the named tables. Errors begin with the line.
func ParseFile(b []byte, tables ...string) ([]Entry, error) {
	var raw map[string]any
	if err := toml.Unmarshal(b, &raw); err != nil {
		line := 1
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, _ = d.Position()
		}
		return nil, fmt.Errorf("%d: %s: write each setting once, as NAME = VALUE, with texts in quotes", line, strings.TrimPrefix(err.Error(), "toml: "))
	}
	p := parser{tables: tables, lines: keyLines(b)}
	err := p.entries("", raw)
	slices.SortStableFunc(p.found, func(a, b Entry) int { return cmp.Compare(a.Line, b.Line) })
	return p.found, err
}

type parser struct {
	tables []string
	lines  map[string]int
	found  []Entry
}

// entries notes what stands in the table, which is empty or ends in a dot.
func (p *parser) entries(table string, raw map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(raw)) { // the same error each time
		e := Entry{Name: table + key, Line: p.lines[table+key]}
		if e.Line == 0 { // of a table in braces
			e.Line = p.lines[strings.TrimSuffix(table, ".")]
		}
		switch v := raw[key].(type) {
		case []any:
			for _, item := range v {
				text, ok := item.(string)
				if !ok {
					return fmt.Errorf("%d: %s: a list of texts in quotes is needed", e.Line, e.Name)
				}
				e.Texts = append(e.Texts, text)
			}
		case string:
			e.Texts = []string{v}
		case int64:
			e.Texts = []string{strconv.FormatInt(v, 10)}
		case bool:
			e.Texts = []string{strconv.FormatBool(v)}
		case map[string]any:
			if err := p.enter(e, table, v); err != nil {
				return err
			}
			continue
		default:
			return fmt.Errorf("%d: %s: a text in quotes, a whole number, true or false is needed", e.Line, e.Name)
		}
		p.found = append(p.found, e)
	}
	return nil
}

// enter reads the table that stands at e, in another one where that is named.
func (p *parser) enter(e Entry, in string, raw map[string]any) error {
	switch {
	case in != "":
		return fmt.Errorf("%d: %s: a table in a table means nothing here", e.Line, e.Name)
	case slices.Contains(p.tables, e.Name):
		return p.entries(e.Name+".", raw)
	case len(p.tables) == 0:
		return fmt.Errorf("%d: %s: a text in quotes, a whole number, true or false is needed: settings stand in no table", e.Line, e.Name)
	}
	return fmt.Errorf("%d: unknown table %q%s", e.Line, e.Name, DidYouMean(Nearest(e.Name, p.tables)))
}

// keyLines finds the line on which each key first stands, those of tables as
// TABLE.KEY.
func keyLines(b []byte) map[string]int {
	lines := map[string]int{}
	table := ""
	var toml unstable.Parser
	toml.Reset(b)
	for toml.NextExpression() {
		e := toml.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		var parts []string
		line := 0
		for key := e.Key(); key.Next(); {
			if line == 0 {
				line = toml.Shape(key.Node().Raw).Start.Line
			}
			parts = append(parts, string(key.Node().Data))
		}
		name := strings.Join(parts, ".")
		if e.Kind == unstable.KeyValue {
			name = table + name
		} else {
			table = name + "."
		}
		if _, seen := lines[name]; !seen {
			lines[name] = line
		}
	}
	return lines
}
