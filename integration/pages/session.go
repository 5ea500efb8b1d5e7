package pages

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

const (
	// stepLimit bounds a command, however loaded the machine.
	stepLimit = 90 * time.Second
	// A command that has printed all that is shown may still be about to end.
	lingers = 2 * time.Second
)

// asks are commands that only look, which are asked again until they see what the page shows: a reader is slower than
// a test.
var asks = regexp.MustCompile(`^(sudo )?(credant (status|ping|dns$|dns --|relays|netcheck|block$|service status)|ping|dig|getent|curl|smbclient|resolvectl|nc|systemctl (status|is-active)|journalctl)\b`)

// relayLine is how a relay says what to give to nodes.
var relayLine = regexp.MustCompile(`#([a-z2-7]{52})\b`)

// play does what a page does, in its order.
func play(t *testing.T, p page, do func(context.Context, step) error) {
	for _, step := range p.steps {
		began := time.Now()
		if err := do(t.Context(), step); err != nil {
			t.Fatalf("%s:%d: %s %s\n%v", p.name, step.line, step.host, step.command+step.file, err)
		}
		t.Logf("%4.1f s  %s:%d: %s: %s%s", time.Since(began).Seconds(), p.name, step.line, step.host, step.command, step.file)
	}
}

func (s *scene) do(ctx context.Context, st step) error {
	host := s.hosts[st.host]
	if host == nil {
		return fmt.Errorf("no host is called %q", st.host)
	}
	if st.file != "" {
		return host.Do(func() error {
			if err := os.MkdirAll(filepath.Dir(st.file), 0o755); err != nil {
				return err
			}
			return os.WriteFile(st.file, []byte(s.here(st.content)), 0o600)
		})
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	return persist(ctx, st, func() error { return s.try(ctx, host, st) })
}

// persist tries a command, again and again if it only looks.
func persist(ctx context.Context, st step, try func() error) error {
	for {
		err := try()
		if err == nil || !asks.MatchString(st.command) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// try runs a command once.
func (s *scene) try(ctx context.Context, host *lab.Host, st step) error {
	command := s.here(st.command)
	// The lab's hosts share this machine's name.
	named := []string{"unshare", "--uts", "sh", "-c", `hostname "$0" && exec bash -c "$1"`, host.Name, command}
	program := lab.Program{Args: named, Env: s.env}
	asked := asksPassphrase(st)
	keyboard, typed := io.Pipe()
	defer typed.Close()
	if asked {
		// Nobody is asked without a terminal.
		program.Args = append(named[:len(named)-1], "exec script -qefc "+quote(command)+" /dev/null")
		program.Env, program.Stdin = append(s.env, "TERM=dumb", "NO_COLOR=1"), keyboard
	}
	p, err := host.Start(program)
	if err != nil {
		return err
	}
	if asked {
		if err := p.WaitOutput(ctx, "Passphrase of network"); err != nil {
			return err
		}
		go func() { _, _ = io.WriteString(typed, passphrase+"\n") }()
	}
	var complete time.Time // when all was there that is shown
	for {
		ended := false
		select {
		case <-p.Done():
			ended = true
		case <-ctx.Done():
			return fmt.Errorf("%w; missing: %s\nprinted:\n%s", context.Cause(ctx), missing(st.shown, p.Output()), p.Output())
		case <-time.After(50 * time.Millisecond):
		}
		printed := p.Output()
		s.learn(printed)
		lacks := ""
		if !st.hidden {
			lacks = missing(st.shown, printed)
		}
		if ended {
			code, err := p.Wait(ctx)
			switch {
			case err != nil:
				return err
			case code != st.code:
				return fmt.Errorf("exit code %d, where the page has %d; it printed:\n%s", code, st.code, printed)
			case lacks != "":
				return fmt.Errorf("this line of the page is not printed:\n  %s\nprinted:\n%s", lacks, printed)
			}
			return nil
		}
		switch {
		case lacks != "" || len(st.shown) == 0:
			complete = time.Time{}
		case complete.IsZero():
			complete = time.Now()
		case time.Since(complete) > lingers:
			return nil
		}
	}
}

func asksPassphrase(st step) bool {
	return strings.Contains(strings.Join(st.shown, "\n"), "Passphrase of network")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// learn takes the key of a relay that was started here for the one that pages show.
func (s *scene) learn(printed string) {
	if m := relayLine.FindStringSubmatch(printed); m != nil {
		s.words[relayKey] = m[1]
	}
}
