package pages

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMissing(t *testing.T) {
	const printed = "network   home: credant0, up 3 s\r\nnode  10.77.3.9\n\nnas    direct   21.5 ms\n"
	for _, c := range []struct {
		shown string
		want  string // the beginning of what is missing
	}{
		{"network  home: credant0, up 9 s", ""},
		{"network  home: credant4, up 9 s\nnode 10.1.2.3\nnas direct 1 ms", ""},
		{"network home: eth0, up 9 s\nnode 1", ""},
		{"network work: eth0, up 9 s", "network work"},
		{"...\nnas direct 3 ms", ""},
		{"nas direct 3 ms", "nas direct"},
		{"...\nnas relay 3 ms", "nas relay"},
		{"network ... s\nnode ...", ""},
		{"...\nnas direct 3 ms\nmore", "more"},
		{"", ""},
	} {
		got := missing(strings.Split(c.shown, "\n"), printed)
		if c.want == "" && got != "" || c.want != "" && !strings.HasPrefix(got, c.want) {
			t.Errorf("shown %q: missing %q, want %q", c.shown, got, c.want)
		}
	}
}

func TestParsePage(t *testing.T) {
	p, err := parsePage("x.md", strings.Join([]string{
		"<!-- scene: homes -->", "# Title", "Say `credant status` now.",
		"<!-- file: nas /etc/x -->", "```toml", "a = 1", "```",
		"<!-- run: nas echo hidden -->",
		"- A list:", "  ```console", "  nas$ sudo credant up \\", "    --no-dht", "  up", "  ...", "  vps# false", "  (exit code 1)", "  ```",
		"```text", "nas -- vps", "```",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := page{
		name: "x.md", scene: "homes", spans: []string{"credant status"},
		steps: []step{
			{line: 5, host: "nas", file: "/etc/x", content: "a = 1\n"},
			{line: 8, host: "nas", command: "echo hidden", root: true, hidden: true},
			{line: 11, host: "nas", command: "sudo credant up \\\n  --no-dht", shown: []string{"up", "..."}},
			{line: 15, host: "vps", command: "false", root: true, code: 1},
		},
	}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(page{}, step{})); diff != "" {
		t.Error(diff)
	}
	for text, says := range map[string]string{
		"```sh\ncredant up\n```":                         "is not tried",
		"```\ncredant up\n```":                           "is not tried",
		"```console\nnas$ credant up\n```":               "does not say where they run",
		"<!-- scene: a -->\n```console\ncredant up\n```": "a session begins with",
		"    sudo credant up\n":                          "indented block",
		"    nas$ ls\n":                                  "indented block",
		"```toml\n":                                      "does not end",
		"<!-- pause: 3 -->":                              "no such comment",
		"<!-- file: nas -->":                             "HOST PATH",
	} {
		if _, err := parsePage("x.md", text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
