// Make writes the Synology packages of a release, from programs that are built.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/credant/credant/deploy/spk"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spk:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var r spk.Release
	flags := flag.NewFlagSet("spk", flag.ContinueOnError)
	flags.StringVar(&r.Version, "version", "", "version: numbers with dots between them")
	flags.IntVar(&r.Build, "build", 0, "number that grows with every version")
	flags.StringVar(&r.Arch, "arch", "amd64", "architecture, amd64 or arm64")
	programs := flags.String("programs", "", "folder of the programs")
	license := flags.String("license", "LICENSE", "file of the licence")
	seconds := flags.Int64("time", 0, "time of every file, in seconds since 1970")
	out := flags.String("out", ".", "folder to write to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.Time = time.Unix(*seconds, 0).UTC()
	b, err := os.ReadFile(*license)
	if err != nil {
		return fmt.Errorf("read licence: %w", err)
	}
	r.License = string(b)
	for name, of := range map[string]func(spk.Release, []byte) spk.Package{"credant": spk.Credant, "credant-relay": spk.Relay} {
		program, err := os.ReadFile(filepath.Join(*programs, name))
		if err != nil {
			return fmt.Errorf("read program: %w", err)
		}
		path := filepath.Join(*out, fmt.Sprintf("%s-%s-%d-%s.spk", name, r.Version, r.Build, r.Arch))
		if err := writePackage(path, of(r, program)); err != nil {
			return err
		}
		fmt.Println("wrote", filepath.Base(path))
	}
	return nil
}

func writePackage(path string, p spk.Package) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create package: %w", err)
	}
	defer f.Close()
	if err := spk.Write(f, p); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
