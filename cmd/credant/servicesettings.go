package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/pelletier/go-toml/v2"
)

// settingsPlan is what is to be added to a settings file.
type settingsPlan struct {
	path  string
	added []string // lines
	text  []byte   // the file with them
	mode  fs.FileMode
}

// notStored are settings for the one who installs, not for the service.
var notStored = []string{"network", "passphrase-file", "weak-passphrase", "foreground"}

// planSettings adds what was given by flags and environment to the settings
// file, which the service reads. What stands there is never changed.
func (p *program) planSettings() (settingsPlan, error) {
	plan := settingsPlan{path: p.settingsOf(p.set.network), mode: 0o644}
	b, err := os.ReadFile(plan.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return plan, fmt.Errorf("read the settings: %w: run this as root, with sudo", err)
	}
	if fi, err := os.Stat(plan.path); err == nil {
		plan.mode = fi.Mode().Perm()
	}
	there, err := cli.ParseFile(b)
	if err != nil {
		return plan, cli.Usagef("%s:%v", plan.path, err)
	}
	for _, given := range p.given() {
		i := slices.IndexFunc(there, func(e cli.Entry) bool { return e.Name == given.Name })
		switch {
		case i < 0:
			line, err := p.line(given)
			if err != nil {
				return plan, err
			}
			plan.added = append(plan.added, line)
		case !slices.Equal(there[i].Texts, given.Texts):
			return plan, cli.Usagef("%s:%d: %s is %s there, and %s was given: change that line, or leave %s out",
				plan.path, there[i].Line, given.Name, strings.Join(there[i].Texts, ", "), strings.Join(given.Texts, ", "), p.origins[given.Name])
		}
	}
	if len(b) == 0 {
		b = fmt.Appendf(nil, "# Settings of network %s. \"credant help up\" lists what there is.\n", p.set.network)
	} else if b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	for _, line := range plan.added {
		b = append(b, line+"\n"...)
	}
	plan.text = b
	return plan, nil
}

// given are the settings that came by flag or environment.
func (p *program) given() []cli.Entry {
	var entries []cli.Entry
	for _, argument := range cli.Arguments(p.flags, notStored...) {
		name, text, _ := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		if from := p.origins[name]; !strings.HasPrefix(from, "--") && !strings.HasPrefix(from, "CREDANT_") {
			continue
		}
		switch name { // as seen from another folder
		case "state-dir":
			text = p.set.stateDir
		case "socket":
			text = p.set.socket
		}
		if last := len(entries) - 1; last >= 0 && entries[last].Name == name {
			entries[last].Texts = append(entries[last].Texts, text)
			continue
		}
		entries = append(entries, cli.Entry{Name: name, Texts: []string{text}})
	}
	return entries
}

// line writes a setting as people do.
func (p *program) line(e cli.Entry) (string, error) {
	f := p.flags.Lookup(e.Name)
	list := cli.Repeatable(f)
	if n, err := strconv.Atoi(e.Texts[0]); !list && (f.Value.Type() == "bool" || err == nil && strconv.Itoa(n) == e.Texts[0]) {
		return e.Name + " = " + e.Texts[0], nil
	}
	var quoted []string
	for _, text := range e.Texts {
		q := `"` + text + `"`
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }) {
			b, err := toml.Marshal(map[string]string{"x": text})
			if err != nil {
				return "", fmt.Errorf("write %s into the settings: %w", e.Name, err)
			}
			q = strings.TrimPrefix(strings.TrimSpace(string(b)), "x = ")
		}
		quoted = append(quoted, q)
	}
	if list {
		return e.Name + " = [" + strings.Join(quoted, ", ") + "]", nil
	}
	return e.Name + " = " + quoted[0], nil
}

// write puts the file in place at once: the service may read it at any time.
func (s settingsPlan) write() error {
	if len(s.added) == 0 {
		return nil
	}
	path, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		path = s.path // not there yet
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	temporary := path + ".new"
	if err == nil {
		err = os.WriteFile(temporary, s.text, s.mode)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return nil
}
