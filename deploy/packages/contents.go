package main

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2/files"
)

// systemd are the formats of distributions that run it; apk's runs OpenRC.
var systemd = []string{"deb", "rpm", "archlinux"}

// item is a file of a package.
type item struct {
	from, to string
	mode     fs.FileMode
	in       []string // formats; empty is all
}

// contents is what a package holds, for one format.
func (r *release) contents(name, format, arch string) (files.Contents, error) {
	doc := "/usr/share/doc/" + name + "/"
	items := []item{
		{from: r.program(name, arch), to: "/usr/bin/" + name, mode: 0o755},
		{from: r.share("bash", name), to: "/usr/share/bash-completion/completions/" + name},
		{from: r.share("zsh", "_"+name), to: "/usr/share/zsh/vendor-completions/_" + name, in: []string{"deb"}},
		{from: r.share("zsh", "_"+name), to: "/usr/share/zsh/site-functions/_" + name, in: []string{"rpm", "apk", "archlinux"}},
		{from: r.share("fish", name+".fish"), to: "/usr/share/fish/vendor_completions.d/" + name + ".fish"},
		{from: filepath.Join(r.stage, name, "copyright"), to: doc + "copyright", in: []string{"deb"}},
		{from: filepath.Join(r.stage, name, "changelog.Debian.gz"), to: doc + "changelog.Debian.gz", in: []string{"deb"}},
		{from: filepath.Join(r.stage, name, "overrides"), to: "/usr/share/lintian/overrides/" + name, in: []string{"deb"}},
		{from: filepath.Join(r.root, "LICENSE"), to: "/usr/share/licenses/" + name + "/LICENSE", in: []string{"rpm", "apk", "archlinux"}},
		{from: filepath.Join(r.root, "docs", settingsOf[name]), to: doc + settingsOf[name]},
	}
	pages, err := filepath.Glob(filepath.Join(r.stage, "man", name, "*.gz"))
	if err != nil {
		return nil, fmt.Errorf("list manual pages: %w", err)
	}
	for _, page := range pages {
		file := filepath.Base(page) // credant-up.8.gz
		section := strings.TrimPrefix(path.Ext(strings.TrimSuffix(file, ".gz")), ".")
		items = append(items, item{from: page, to: "/usr/share/man/man" + section + "/" + file})
	}
	own, err := r.own(name, doc)
	if err != nil {
		return nil, err
	}
	return list(append(items, own...), format), nil
}

// own is what only one of the two packages holds.
func (r *release) own(name, doc string) ([]item, error) {
	if name == "credant-relay" {
		unit, err := r.inPackage("credant-relay.service")
		return []item{
			{from: unit, to: "/usr/lib/systemd/system/credant-relay.service", in: systemd},
			{from: filepath.Join(r.root, "docs", "relaying.md"), to: doc + "relaying.md"},
		}, err
	}
	unit, err := r.inPackage("systemd/credant@.service")
	if err != nil {
		return nil, err
	}
	script, err := r.inPackage("openrc/credant")
	if err != nil {
		return nil, err
	}
	items := []item{
		{from: unit, to: "/usr/lib/systemd/system/credant@.service", in: systemd},
		{from: filepath.Join(r.stage, "credant.sysusers"), to: "/usr/lib/sysusers.d/credant.conf", in: systemd},
		{from: filepath.Join(r.stage, "credant.tmpfiles"), to: "/usr/lib/tmpfiles.d/credant.conf", in: systemd},
		{from: script, to: "/etc/init.d/credant", mode: 0o755, in: []string{"apk"}},
		{to: "/etc/credant", mode: 0o755 | fs.ModeDir},
		{from: filepath.Join(r.root, "README.md"), to: doc + "README.md"},
	}
	pages, err := filepath.Glob(filepath.Join(r.root, "docs", "*.md"))
	if err != nil {
		return nil, fmt.Errorf("list documentation: %w", err)
	}
	for _, page := range pages {
		items = append(items, item{from: page, to: doc + "docs/" + filepath.Base(page)})
	}
	return items, nil
}

// list turns the items of a format into nfpm's words. Modes are given for each
// file: those of a checkout depend on who made it.
func list(items []item, format string) files.Contents {
	var contents files.Contents
	for _, i := range items {
		if len(i.in) > 0 && !slices.Contains(i.in, format) {
			continue
		}
		c := &files.Content{
			Source:      i.from,
			Destination: i.to,
			FileInfo:    &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o644},
		}
		if i.mode != 0 {
			c.FileInfo.Mode = i.mode.Perm()
		}
		if i.mode.IsDir() {
			c.Type = files.TypeDir
		}
		contents = append(contents, c)
	}
	return contents
}
