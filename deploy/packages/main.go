package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

// release is one run: what is built, from where, and where it goes.
type release struct {
	root    string // the repository
	out     string // the release's folder
	stage   string // generated files, in a temporary folder
	built   string // folder of programs to take instead of building them
	native  string // folder of the programs that run on this host
	arches  []string
	formats []string
	version version
	text    string // the version as the programs say it
	time    time.Time
	log     io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("packages", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "../..", "folder of the repository")
	out := flags.String("out", "", "folder to write the release to (default bin/release in the repository)")
	text := flags.String("version", "", "version (default what git describe says)")
	programs := flags.String("programs", "", "folder of programs that are built already, as a release has them, this host's too (default: build them)")
	formats := flags.String("formats", "deb,rpm,apk,archlinux,spk", "what to write besides install.sh's folder")
	arches := flags.String("arch", "amd64,arm64", "architectures, in Go's words")
	docs := flags.String("docs", "", "only write the pages of reference in docs, from the programs in this folder")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := release{text: *text, built: *programs, formats: strings.Split(*formats, ","), arches: strings.Split(*arches, ","), log: stdout}
	var err error
	if r.root, err = filepath.Abs(*root); err != nil {
		return fmt.Errorf("find repository: %w", err)
	}
	if *docs != "" {
		r.native = *docs
		return r.writeReferences(ctx)
	}
	if r.out, err = filepath.Abs(cmp.Or(*out, filepath.Join(r.root, "bin", "release"))); err != nil {
		return fmt.Errorf("find folder of the release: %w", err)
	}
	return r.make(ctx)
}

func (r *release) make(ctx context.Context) error {
	if err := r.describe(ctx); err != nil {
		return err
	}
	stage, err := os.MkdirTemp("", "credant-packages-")
	if err != nil {
		return fmt.Errorf("make folder for generated files: %w", err)
	}
	defer os.RemoveAll(stage)
	r.stage = stage
	if err := os.RemoveAll(r.out); err != nil {
		return fmt.Errorf("empty folder of the release: %w", err)
	}
	for _, step := range []func(context.Context) error{r.programs, r.manuals, r.texts, r.folder, r.packages, r.spk, r.sums} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// describe finds the version and the time of the release.
func (r *release) describe(ctx context.Context) error {
	if r.text == "" {
		text, err := r.git(ctx, "describe", "--tags", "--always", "--dirty")
		if err != nil {
			return fmt.Errorf("%w: give -version", err)
		}
		r.text = text
	}
	// Both are absent in a source archive, where -version and SOURCE_DATE_EPOCH say all.
	count, _ := r.git(ctx, "rev-list", "--count", "HEAD")
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		epoch, _ = r.git(ctx, "log", "-1", "--format=%ct")
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("read time of the release from SOURCE_DATE_EPOCH or git: %w", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	r.version, err = parseVersion(r.text, cmp.Or(count, "1"))
	return err
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	return r.output(ctx, "git", args...)
}

// output runs a command in the repository and returns the line it prints.
func (r *release) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.root
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s %s: %w\n%s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
