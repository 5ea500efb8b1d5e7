package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// folder adds what install.sh needs besides programs and manuals.
func (r *release) folder(context.Context) error {
	for from, to := range map[string]string{
		"LICENSE":                         "share/LICENSE",
		"README.md":                       "share/doc/README.md",
		"docs/reference.toml":             "share/doc/reference.toml",
		"docs/credant-relay.toml":         "share/doc/credant-relay.toml",
		"deploy/systemd/credant@.service": "share/systemd/credant@.service",
		"deploy/credant-relay.service":    "share/systemd/credant-relay.service",
		"deploy/openrc/credant":           "share/openrc/credant",
		"deploy/procd/credant":            "share/procd/credant",
		"deploy/container/Containerfile":  "container/Containerfile",
		"deploy/container/state/README":   "container/state/README",
	} {
		b, err := os.ReadFile(filepath.Join(r.root, from))
		if err != nil {
			return fmt.Errorf("read file of the release: %w", err)
		}
		if err := write(filepath.Join(r.out, to), b); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(filepath.Join(r.root, "deploy", "install.sh"))
	if err != nil {
		return fmt.Errorf("read install.sh: %w", err)
	}
	path := filepath.Join(r.out, "install.sh")
	if err := write(path, b); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return fmt.Errorf("make install.sh a program: %w", err)
	}
	return nil
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) sums(context.Context) error {
	var b strings.Builder
	err := filepath.WalkDir(r.out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.out, path)
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), name)
		return err
	})
	if err != nil {
		return fmt.Errorf("add up the release: %w", err)
	}
	return write(filepath.Join(r.out, "SHA256SUMS"), []byte(b.String()))
}
