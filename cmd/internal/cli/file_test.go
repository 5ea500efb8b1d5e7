package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFile(t *testing.T) {
	const file = `# settings
name = "nas"
list = ["a", "b"]
none = []

port = 1000
on = true
quota = { rate = "1" }
[table]
# more
"rate" = "2"
`
	got, err := ParseFile([]byte(file), "table", "quota")
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{"name", 2, []string{"nas"}},
		{"list", 3, []string{"a", "b"}},
		{"none", 4, nil},
		{"port", 6, []string{"1000"}},
		{"on", 7, []string{"true"}},
		{"quota.rate", 8, []string{"1"}},
		{"table.rate", 11, []string{"2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseFileRefuses(t *testing.T) {
	const needed = "a text in quotes, a whole number, true or false is needed"
	const form = ": write each setting once, as NAME = VALUE, with texts in quotes"
	for _, tt := range []struct {
		file   string
		tables []string
		want   string
	}{
		{"\nname = nas", nil, `2: expected keyword "nan"` + form},
		{"a = 1\na = 2", nil, "2: key a is already defined" + form},
		{"a = 1.5", nil, "1: a: " + needed},
		{"a = 2020-01-01", nil, "1: a: " + needed},
		{"a = [1]", nil, "1: a: a list of texts in quotes is needed"},
		{"[[a]]\nb = 1", []string{"a"}, "1: a: a list of texts in quotes is needed"},
		{"\n[table]\na = 1", nil, "2: table: " + needed + ": settings stand in no table"},
		{"[table]", []string{"tables"}, `1: unknown table "table" (did you mean "tables"?)`},
		{"[a.b]\nc = 1", []string{"a"}, "1: a.b: a table in a table means nothing here"},
	} {
		got, err := ParseFile([]byte(tt.file), tt.tables...)
		if err == nil {
			t.Errorf("%q: %v", tt.file, got)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.file, diff)
		}
	}
}
