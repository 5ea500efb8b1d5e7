package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/cmd/internal/systemd"
	"github.com/credant/credant/deploy/service"
	"github.com/credant/credant/discovery/keys"
	"golang.org/x/term"
)

// maxPassphrase bounds what is read of a file or of standard input, in bytes;
// package keys refuses less.
const maxPassphrase = 64 << 10

// join makes sure that the network's key is stored, and that a passphrase
// which was given is the stored one's. running says that a daemon is up, which
// has its key wherever it keeps it.
func (p *program) join(ctx context.Context, running bool) error {
	stored, err := p.node.hasKey(p.set.stateDir, p.set.network)
	if err != nil {
		return err
	}
	raw, err := p.passphrase(ctx, stored || running)
	if err != nil || raw == nil {
		return err
	}
	defer clear(raw)
	pass, err := keys.NormalizePassphrase(raw)
	if err != nil {
		return fmt.Errorf("%w: type another, or let \"credant new\" make one", err)
	}
	if running && !stored {
		p.warn("the daemon that is up keeps its key elsewhere: the passphrase was not compared")
		return nil
	}
	if !stored && !p.set.weakPassphrase {
		if bits := keys.EstimateBits(string(pass)); bits < keys.MinBits {
			return fmt.Errorf("passphrase is too easy to guess: about %.0f bits, and anyone can try guesses in private: use one that \"credant new\" makes (77 bits), or accept the risk with --weak-passphrase", bits)
		}
	}
	_, err = p.node.join(ctx, p.set.stateDir, p.set.network, pass)
	return err
}

// passphrase returns what was given: the file that a flag or variable names,
// else CREDANT_PASSPHRASE, else the file that the settings file names, else the
// service's credential, else what is typed. With a stored key none is needed, nothing is asked, and nil
// is returned where none was given.
func (p *program) passphrase(ctx context.Context, stored bool) ([]byte, error) {
	fromSettings := p.origins["passphrase-file"] != "--passphrase-file" && p.origins["passphrase-file"] != "CREDANT_PASSPHRASE_FILE"
	text := p.getenv("CREDANT_PASSPHRASE")
	switch {
	case p.set.passphraseFile != "" && (text == "" || !fromSettings):
		b, err := p.readPassphrase(p.set.passphraseFile)
		if stored && errors.Is(err, fs.ErrNotExist) {
			p.warn("%s is not there: the stored key is used", p.set.passphraseFile)
			return nil, nil
		}
		return b, err
	case text != "":
		return []byte(text), nil
	case stored:
		return nil, nil
	}
	if path := systemd.Credential(p.getenv("CREDENTIALS_DIRECTORY"), service.Credential(p.set.network)); path != "" {
		return p.readPassphrase(path)
	}
	if systemd.NewNotifier(p.getenv("NOTIFY_SOCKET")).Listens() {
		// Nobody can type here, and a service that is started again and again
		// does not mend it.
		return nil, cli.Usagef("no key of network %s is stored, and no passphrase was given: run \"sudo credant service install --network %s\", or put the passphrase into /etc/credstore/%s", p.set.network, p.set.network, service.Credential(p.set.network))
	}
	return p.askPassphrase(ctx)
}

func (p *program) readPassphrase(path string) ([]byte, error) {
	from := p.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the passphrase: %w: check --passphrase-file", err)
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o004 != 0 {
			p.warn("everyone on this machine can read %s: run \"chmod 600 %s\"", path, path)
		}
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, maxPassphrase+1))
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w: check --passphrase-file", err)
	}
	if len(b) > maxPassphrase {
		return nil, fmt.Errorf("read the passphrase: %s is larger than %d bytes: name the right file", path, maxPassphrase)
	}
	return b, nil
}

// askPassphrase asks once, without echo, on the terminal that the command was
// typed at: the check words that `up` shows tell of a typo.
func (p *program) askPassphrase(ctx context.Context) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.New("a passphrase is needed and there is no terminal to ask at: use --passphrase-file, or set CREDANT_PASSPHRASE")
	}
	defer tty.Close()
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err == nil {
		// Before the question, for those who type faster than we read.
		err = echoOff(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase: %w", err)
	}
	defer func() { _ = term.Restore(fd, before) }()
	fmt.Fprintf(tty, "Passphrase of network %s (\"credant new\" makes one): ", p.set.network)
	type answer struct {
		pass []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		// Not term.ReadPassword: where the question is interrupted, it could turn the echo off after it was given back.
		pass, err := bufio.NewReader(io.LimitReader(tty, maxPassphrase)).ReadBytes('\n')
		typed <- answer{bytes.TrimSuffix(pass, []byte("\n")), err}
	}()
	select {
	case <-ctx.Done():
		// The read cannot be woken; the process ends with it still waiting.
		fmt.Fprintln(tty)
		return nil, ctx.Err()
	case a := <-typed:
		fmt.Fprintln(tty)
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return nil, fmt.Errorf("read the passphrase: %w", a.err)
		}
		return a.pass, nil
	}
}
