package cli

import (
	"cmp"
	"errors"
	"fmt"
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
// list of texts, and tables of such. Errors begin with the line.
func ParseFile(b []byte) ([]Entry, error) {
	var raw map[string]any
	if err := toml.Unmarshal(b, &raw); err != nil {
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, _ := d.Position()
			return nil, fmt.Errorf("%d: %s", line, strings.TrimPrefix(d.Error(), "toml: "))
		}
		return nil, fmt.Errorf("1: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	out, err := entriesOf("", raw, keyLines(b))
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Line, b.Line) })
	return out, err
}

func entriesOf(table string, raw map[string]any, lines map[string]int) ([]Entry, error) {
	var out []Entry
	for key, v := range raw {
		e := Entry{Name: table + key, Line: lines[table+key]}
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				text, ok := item.(string)
				if !ok {
					return nil, fmt.Errorf("%d: %s: a list of texts in quotes is needed", e.Line, e.Name)
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
			if table == "" {
				inner, err := entriesOf(key+".", v, lines)
				if err != nil {
					return nil, err
				}
				out = append(out, inner...)
				continue
			}
			return nil, fmt.Errorf("%d: %s: a table in a table means nothing here", e.Line, e.Name)
		default:
			return nil, fmt.Errorf("%d: %s: a text in quotes, a whole number, true or false is needed", e.Line, e.Name)
		}
		out = append(out, e)
	}
	return out, nil
}

// keyLines finds the line on which each key first stands, those of tables as
// TABLE.KEY.
func keyLines(b []byte) map[string]int {
	lines := map[string]int{}
	table := ""
	var parser unstable.Parser
	parser.Reset(b)
	for parser.NextExpression() {
		e := parser.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		var parts []string
		line := 0
		for key := e.Key(); key.Next(); {
			if line == 0 {
				line = parser.Shape(key.Node().Raw).Start.Line
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
