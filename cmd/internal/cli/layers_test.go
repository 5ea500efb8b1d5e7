package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

type options struct {
	name, other, secret string
	list                []string
	rate                string
}

func (o *options) layers() Layers {
	text := func(s string) (string, error) { return s, nil }
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	One(fs, "name", &o.name, "TEXT", "", text, "")
	One(fs, "other", &o.other, "TEXT", "", text, "")
	One(fs, "secret", &o.secret, "TEXT", "", text, "")
	fs.Lookup("secret").Hidden = true
	Many(fs, "list", &o.list, "TEXT", text, "")
	alone := pflag.NewFlagSet("file", pflag.ContinueOnError)
	One(alone, "table.rate", &o.rate, "TEXT", "", text, "")
	return Layers{Flags: fs, FileOnly: alone, Origins: map[string]string{}}
}

func TestLayersNoteOrigins(t *testing.T) {
	var o options
	l := o.layers()
	if err := l.Flags.Parse([]string{"--name=flag"}); err != nil {
		t.Fatal(err)
	}
	environ := []string{"X_NAME=env", "X_LIST=a, b", "X_SECRET=env"}
	if err := l.FromEnvironment("X", func(name string) string { return Getenv(environ, name) }); err != nil {
		t.Fatal(err)
	}
	file := "name = 'file'\nlist = ['c']\nother = 'file'\n[table]\nrate = 'file'"
	if err := l.FromFile("x.toml", []byte(file)); err != nil {
		t.Fatal(err)
	}
	want := options{name: "flag", other: "file", list: []string{"a", "b"}, rate: "file"}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	origins := map[string]string{
		"name": "--name", "list": "X_LIST", "other": "x.toml:3: other", "table.rate": "x.toml:5: table.rate",
	}
	if diff := cmp.Diff(origins, l.Origins); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

// What another command needs is known, and left alone.
func TestLayersTakeWhatIsWanted(t *testing.T) {
	var o options
	l := o.layers()
	l.Wanted = pflag.NewFlagSet("command", pflag.ContinueOnError)
	l.Wanted.AddFlag(l.Flags.Lookup("name"))
	environ := []string{"X_LIST=a"}
	if err := l.FromEnvironment("X", func(name string) string { return Getenv(environ, name) }); err != nil {
		t.Fatal(err)
	}
	if err := l.FromFile("x.toml", []byte("name = 'file'\nother = 'file'")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(options{name: "file"}, o, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err := l.FromFile("x.toml", []byte("secret = 'file'"))
	if want := `x.toml:1: unknown setting "secret"`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestArguments(t *testing.T) {
	var o, again options
	fs := o.layers().Flags
	if err := fs.Parse([]string{"--name=-x y", "--list=a", "--list=b,c", "--secret=s", "--other=o"}); err != nil {
		t.Fatal(err)
	}
	if err := again.layers().Flags.Parse(Arguments(fs, "other")); err != nil {
		t.Fatal(err)
	}
	want := options{name: "-x y", list: []string{"a", "b,c"}}
	if diff := cmp.Diff(want, again, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
