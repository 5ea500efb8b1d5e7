package manual

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var tree = Command{
	Name: "credant", Usage: "credant COMMAND", Short: "One passphrase, one private network",
	Long:    "Joins machines.\n\nEach setting has the same name.\n\n  --no-dht\n  .keep 'this' \\ as it is",
	Example: "  credant new     make a passphrase\n    indented",
	Flags:   []Flag{{Name: "help", Shorthand: "h", Usage: "explain this command"}},
	Commands: []Command{
		{
			Name: "credant up", Usage: "credant up [flags]", Short: "Join the network",
			Flags:  []Flag{{Name: "port", Value: "PORT", Usage: "UDP port", Default: "auto"}},
			Global: []Flag{{Name: "network", Value: "NAME", Usage: "name of the network"}},
		},
		{Name: "credant dns", Usage: "credant dns", Short: "The names", Commands: []Command{
			{Name: "credant dns add", Usage: "credant dns add NAME", Short: "Add a name"},
		}},
		{Name: "credant completion", Usage: "credant completion SHELL", Short: "Print what lets a shell complete"},
	},
}

var program = Program{Version: "1.2.3", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Settings: "# A port.\nport = 23456\n"}

func TestPages(t *testing.T) {
	pages := map[string]string{}
	for _, p := range Pages(tree, program) {
		pages[p.File] = string(p.Text)
	}
	for file, lines := range map[string][]string{
		"credant.8":         {`.TH "CREDANT" "8" "2026-01-02" "CredAnt 1.2.3" "CredAnt"`, `credant \- one passphrase, one private network`, `\&.keep \(aqthis\(aq \e as it is`, "  indented", `.SH EXIT STATUS`, `\fB\-h\fR, \fB\-\-help\fR`},
		"credant-up.8":      {`\fBcredant\fR \fBup\fR \fI[flags]\fR`, `\fB\-\-port\fR \fIPORT\fR`, "UDP port (default auto).", `\fB\-\-network\fR \fINAME\fR`, `\fBcredant\fR(8),`},
		"credant-dns.8":     {`\fBdns add\fR`},
		"credant-dns-add.8": {`\fBcredant\fR \fBdns\fR \fBadd\fR \fINAME\fR`},
		"credant.toml.5":    {"port = 23456"},
	} {
		for _, line := range lines {
			if !strings.Contains(pages[file], line+"\n") {
				t.Errorf("%s has no line %q:\n%s", file, line, pages[file])
			}
		}
		delete(pages, file)
	}
	for file := range pages {
		t.Errorf("there is a page %s", file)
	}
}

func TestReference(t *testing.T) {
	text := Reference(tree, "make docs", "# A port.\nport = 23456\n[other]\nnot-a-flag = 1\n")
	for _, line := range []string{
		"| [`credant dns add`](#credant-dns-add) | Add a name |", "## credant dns add", "| `--port PORT` | UDP port (default auto) |",
		"| `-h, --help` | explain this command |", "```text\n--no-dht\n.keep 'this' \\ as it is\n```", "credant new     make a passphrase\n  indented",
		"| `port` | `CREDANT_PORT` |", "| 78 | The same in a service, which is not started again until that is mended. |",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in:\n%s", line, text)
		}
	}
	if strings.Contains(text, "NOT_A_FLAG") || strings.Contains(text, "completion") {
		t.Errorf("more than is asked for:\n%s", text)
	}
}

// A page in which groff finds something to warn of is a page that a reader sees torn.
func TestGroffReadsThem(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		if os.Getenv("CREDANT_TEST_STRICT") != "" {
			t.Fatal("a test that CREDANT_TEST_STRICT requires cannot run: groff is not installed")
		}
		t.Skip("groff is not installed: run integration/deps")
	}
	for _, p := range Pages(tree, program) {
		cmd := exec.Command("groff", "-man", "-ww", "-Tutf8", "-z")
		cmd.Stdin = strings.NewReader(string(p.Text))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s\n%s", p.File, err, out, p.Text)
		}
	}
}
