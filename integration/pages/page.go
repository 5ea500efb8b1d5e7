package pages

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A page is one file of the documentation, taken apart.
type page struct {
	name  string
	scene string
	steps []step
	// spans are pieces of code in sentences.
	spans []string
}

// A step is one thing that the page has done.
type step struct {
	line int // in the page
	host string

	// A command, and what it is said to print.
	command string
	root    bool
	shown   []string
	code    int
	hidden  bool // it prints whatever it likes

	// Or a file, and what is in it.
	file, content string
}

var (
	comment = regexp.MustCompile(`^<!-- *(\w+): *(.*?) *-->$`)
	fence   = regexp.MustCompile("^( *)(```+)\\s*([a-z]*)\\s*$")
	prompt  = regexp.MustCompile(`^([a-z][a-z0-9-]*)([$#]) (.*)$`)
	ended   = regexp.MustCompile(`^\(exit code (\d+)\)$`)
	// A command in an indented block, where nobody tries it.
	untried = regexp.MustCompile(`^ {4,}([a-z][a-z0-9-]*[$#] |\$ |sudo |credant |credant-relay |make |systemctl |journalctl |[A-Z][A-Z_]+=\S* )`)
	span    = regexp.MustCompile("`([^`]+)`")
)

// languages of fenced blocks that hold no commands.
var languages = []string{"toml", "yaml", "json", "text", "ini"}

// parsePage takes a page apart. What it cannot make sense of is an error, so that no command goes untried.
func parsePage(name, text string) (page, error) {
	p := page{name: name}
	lines := strings.Split(text, "\n")
	var file []string // host and path of the next block
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if c := comment.FindStringSubmatch(strings.TrimSpace(line)); c != nil {
			switch c[1] {
			case "scene":
				p.scene = c[2]
			case "file":
				if file = strings.Fields(c[2]); len(file) != 2 {
					return p, fmt.Errorf("%s:%d: say file: HOST PATH", name, i+1)
				}
			case "run":
				host, command, _ := strings.Cut(c[2], " ")
				p.steps = append(p.steps, step{line: i + 1, host: host, command: command, root: true, hidden: true})
			case "matrix": // where a table goes that is measured
			default:
				return p, fmt.Errorf("%s:%d: no such comment: %s", name, i+1, c[1])
			}
			continue
		}
		f := fence.FindStringSubmatch(line)
		if f == nil {
			if untried.MatchString(line) {
				return p, fmt.Errorf("%s:%d: a command in an indented block is not tried: make it a block of console, with HOST$ before each command", name, i+1)
			}
			for _, s := range span.FindAllStringSubmatch(line, -1) {
				p.spans = append(p.spans, s[1])
			}
			continue
		}
		begin := i + 1
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != f[2]; i++ {
		}
		if i == len(lines) {
			return p, fmt.Errorf("%s:%d: the block does not end", name, begin)
		}
		body := make([]string, 0, i-begin)
		for _, l := range lines[begin:i] {
			body = append(body, strings.TrimPrefix(l, f[1]))
		}
		switch language := f[3]; {
		case file != nil:
			p.steps = append(p.steps, step{line: begin, host: file[0], file: file[1], content: strings.Join(body, "\n") + "\n"})
			file = nil
		case language == "console":
			steps, err := parseSession(name, begin+1, body)
			if err != nil {
				return p, err
			}
			p.steps = append(p.steps, steps...)
		case !slices.Contains(languages, language):
			return p, fmt.Errorf("%s:%d: a block of %q is not tried: make it console, with HOST$ before each command, or one of %s", name, begin, language, strings.Join(languages, ", "))
		}
	}
	if len(p.steps) > 0 && p.scene == "" {
		return p, fmt.Errorf("%s: it shows commands and does not say where they run: begin with <!-- scene: NAME -->", name)
	}
	return p, nil
}

func parseSession(name string, first int, body []string) ([]step, error) {
	var steps []step
	for i := 0; i < len(body); i++ {
		at := first + i
		if c := prompt.FindStringSubmatch(body[i]); c != nil {
			s := step{line: at, host: c[1], root: c[2] == "#", command: c[3]}
			for strings.HasSuffix(s.command, `\`) && i+1 < len(body) {
				i++
				s.command += "\n" + body[i]
			}
			steps = append(steps, s)
			continue
		}
		if len(steps) == 0 {
			if strings.TrimSpace(body[i]) == "" {
				continue
			}
			return nil, fmt.Errorf("%s:%d: a session begins with HOST$ COMMAND", name, at)
		}
		s := &steps[len(steps)-1]
		if e := ended.FindStringSubmatch(body[i]); e != nil {
			s.code, _ = strconv.Atoi(e[1])
			continue
		}
		s.shown = append(s.shown, body[i])
	}
	return steps, nil
}
