package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"  // the formats register themselves
	_ "github.com/goreleaser/nfpm/v2/arch" //
	_ "github.com/goreleaser/nfpm/v2/deb"  //
	_ "github.com/goreleaser/nfpm/v2/rpm"  //
)

// about is what packages say of themselves: one line, then a paragraph.
var about = map[string][2]string{
	"credant": {
		"encrypted private network from one passphrase",
		"Type one passphrase on every machine, and they are on one encrypted private network. There is no account and no " +
			"server: machines find each other on the BitTorrent DHT, on the local network and through each other, open direct " +
			"paths through NATs or take a relay, and talk by kernel WireGuard.",
	},
	"credant-relay": {
		"relay, STUN server and meeting point for CredAnt networks",
		"Lets the nodes of networks made with credant find each other, and carries their traffic where no direct path is. " +
			"What it carries is encrypted: it cannot read it and can make no member.",
	},
}

// packages writes every package of every architecture.
func (r *release) packages(context.Context) error {
	for _, arch := range r.arches {
		for _, name := range names {
			for _, format := range r.formats {
				if format == "spk" {
					continue // for each architecture, by its own command
				}
				if err := r.pack(name, format, arch); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *release) pack(name, format, arch string) error {
	contents, err := r.contents(name, format, arch)
	if err != nil {
		return err
	}
	summary, description := about[name][0], about[name][1]
	info := &nfpm.Info{
		Name:            name,
		Arch:            arch,
		Platform:        "linux",
		Version:         r.version.in(format),
		VersionSchema:   "none",
		Release:         "1",
		Section:         "net",
		Priority:        "optional",
		Maintainer:      maintainer,
		Description:     summary + "\n" + wrapped(description),
		Homepage:        homepage,
		License:         "MIT",
		MTime:           r.time,
		DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Umask:    0o022,
			RPM: nfpm.RPM{
				Summary:   summary,
				Group:     "Applications/Internet",
				BuildHost: "localhost", // the builder's name is nobody's business, and would differ
			},
			ArchLinux: nfpm.ArchLinux{Packager: maintainer},
		},
	}
	switch format {
	case "apk", "archlinux":
		info.Description = summary // a single line there
	case "rpm":
		info.Description = wrapped(description)
	}
	if err := r.addScripts(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return fmt.Errorf("find packager: %w", err)
	}
	path := filepath.Join(r.out, packager.ConventionalFileName(info))
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create package: %w", err)
	}
	defer f.Close()
	if err := packager.Package(nfpm.WithDefaults(info), f); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	fmt.Fprintln(r.log, "wrote", filepath.Base(path))
	return nil
}

// wrapped breaks a text into lines of at most 72 columns.
func wrapped(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 72 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}
