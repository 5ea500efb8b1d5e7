package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/credant/credant/deploy/packages/manual"
)

// command is what a program says of itself.
func (r *release) command(ctx context.Context, name string) (manual.Command, error) {
	var c manual.Command
	out, err := r.output(ctx, filepath.Join(r.native, name), "reference")
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return c, fmt.Errorf("read what %s reference prints: %w", name, err)
	}
	return c, nil
}

// references are the pages of docs that are made from the programs, by path.
func (r *release) references(ctx context.Context) (map[string]string, error) {
	pages := map[string]string{}
	for _, name := range names {
		command, err := r.command(ctx, name)
		if err != nil {
			return nil, err
		}
		settings, err := os.ReadFile(filepath.Join(r.root, "docs", settingsOf[name]))
		if err != nil {
			return nil, fmt.Errorf("read settings: %w", err)
		}
		pages[filepath.Join(r.root, "docs", "reference-"+name+".md")] = manual.Reference(command, "make docs", string(settings))
	}
	return pages, nil
}

// writeReferences writes them.
func (r *release) writeReferences(ctx context.Context) error {
	pages, err := r.references(ctx)
	if err != nil {
		return err
	}
	for path, text := range pages {
		if err := write(path, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}
