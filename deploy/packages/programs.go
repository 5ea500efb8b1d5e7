package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/credant/credant/deploy/packages/manual"
)

// names of the programs, which are those of their packages too.
var names = []string{"credant", "credant-relay"}

// programs builds both programs for each architecture, and for this host, which
// asks them for their manuals.
func (r *release) programs(ctx context.Context) error {
	for _, arch := range r.arches {
		if err := r.build(ctx, arch, filepath.Dir(r.program("", arch))); err != nil {
			return err
		}
	}
	switch {
	case slices.Contains(r.arches, runtime.GOARCH):
		r.native = filepath.Dir(r.program("", runtime.GOARCH))
		return nil
	case r.built != "":
		r.native = filepath.Join(r.built, runtime.GOARCH)
		return nil
	}
	r.native = filepath.Join(r.stage, "native")
	return r.build(ctx, runtime.GOARCH, r.native)
}

// take copies programs that were built before.
func (r *release) take(arch string) error {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(r.built, arch, name))
		if err != nil {
			return fmt.Errorf("read program: %w", err)
		}
		if err := write(r.program(name, arch), b); err != nil {
			return err
		}
		if err := os.Chmod(r.program(name, arch), 0o755); err != nil {
			return fmt.Errorf("make program executable: %w", err)
		}
	}
	return nil
}

func (r *release) program(name, arch string) string {
	return filepath.Join(r.out, "programs", arch) + "/" + name
}

func (r *release) build(ctx context.Context, arch, folder string) error {
	if r.built != "" {
		return r.take(arch)
	}
	// The same flags as the Makefile's, so that the programs are the same bytes.
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=" + r.text, "-o", folder + "/"}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build programs for %s: %w\n%s", arch, err, out)
	}
	fmt.Fprintln(r.log, "built the programs for", arch)
	return nil
}

// manuals writes the manual pages and the completions into share, the part of
// the release's folder that is the same for every architecture.
func (r *release) manuals(ctx context.Context) error {
	for _, name := range names {
		command, err := r.command(ctx, name)
		if err != nil {
			return err
		}
		settings, err := os.ReadFile(filepath.Join(r.root, "docs", settingsOf[name]))
		if err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
		pages := manual.Pages(command, manual.Program{
			Version:  r.text,
			Date:     r.time,
			Settings: string(settings),
		})
		for _, page := range pages {
			if err := write(r.share("man", page.File), page.Text); err != nil {
				return err
			}
			packed, err := compressed(page.Text)
			if err != nil {
				return err
			}
			if err := write(filepath.Join(r.stage, "man", name, page.File+".gz"), packed); err != nil {
				return err
			}
		}
		for shell, file := range map[string]string{"bash": name, "zsh": "_" + name, "fish": name + ".fish"} {
			script, err := r.output(ctx, filepath.Join(r.native, name), "completion", shell)
			if err != nil {
				return err
			}
			if err := write(r.share(shell, file), []byte(script+"\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

// settingsOf are the files in docs that explain each setting.
var settingsOf = map[string]string{"credant": "reference.toml", "credant-relay": "credant-relay.toml"}

func (r *release) share(elements ...string) string {
	return filepath.Join(append([]string{r.out, "share"}, elements...)...)
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
