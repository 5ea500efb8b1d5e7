package spk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5" // the checksum that DSM wants; it guards against a broken download alone
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Package is what a Synology package is made of.
type Package struct {
	Name        string // of the package and its folder in /var/packages
	DisplayName string
	Version     string // numbers with dots
	Build       int    // grows with every version; DSM orders by it
	Arch        string // amd64 or arm64
	Description string
	Maintainer  string
	Homepage    string
	License     string
	Startable   bool // Package Center shows "run" and "stop"

	Files   []File            // of package.tgz, unpacked to /var/packages/NAME/target
	Scripts map[string]string // by the names of the guide: postinst, start-stop-status, ...
	Time    time.Time         // of every file
}

// File is one of package.tgz.
type File struct {
	Path string // below target
	Mode int64
	Data []byte
}

// platforms are DSM's names for processors that a Go architecture runs on.
var platforms = map[string]string{
	"amd64": "x86_64",
	"arm64": "armv8 armada37xx rtd1296 rtd1619b",
}

// scriptNames are those that DSM calls. It wants each to be there.
var scriptNames = []string{"preinst", "postinst", "preuninst", "postuninst", "preupgrade", "postupgrade", "start-stop-status"}

var versionPattern = regexp.MustCompile(`^\d+(\.\d+)*$`)

// privilege is the only one that DSM 7 accepts of a package without Synology's signature.
const privilege = `{"defaults": {"run-as": "package"}}` + "\n"

// Write writes the package.
func Write(w io.Writer, p Package) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("write package %s: %w", p.Name, err)
	}
	inner, size, err := p.inner()
	if err != nil {
		return fmt.Errorf("write package.tgz of %s: %w", p.Name, err)
	}
	files := []File{
		{"INFO", 0o644, []byte(p.info(inner, size))},
		{"package.tgz", 0o644, inner},
		{"conf/privilege", 0o644, []byte(privilege)},
		{"conf/resource", 0o644, []byte(p.resource())},
		{"LICENSE", 0o644, []byte(p.License)},
		{"PACKAGE_ICON.PNG", 0o644, icon(64)},
		{"PACKAGE_ICON_256.PNG", 0o644, icon(256)},
	}
	for _, name := range scriptNames {
		text := p.Scripts[name]
		if text == "" {
			text = "#!/bin/sh\nexit 0\n"
		}
		files = append(files, File{"scripts/" + name, 0o755, []byte(text)})
	}
	if err := writeTar(w, files, p.Time); err != nil {
		return fmt.Errorf("write package %s: %w", p.Name, err)
	}
	return nil
}

func (p Package) check() error {
	switch {
	case platforms[p.Arch] == "":
		return fmt.Errorf("no Synology NAS is of architecture %q", p.Arch)
	case !versionPattern.MatchString(p.Version):
		return fmt.Errorf("version %q: only numbers with dots between them", p.Version)
	case p.Build < 1 || p.Build > math.MaxInt32:
		return fmt.Errorf("build %d: DSM keeps it in 31 bits", p.Build)
	case strings.ContainsAny(p.Description+p.DisplayName+p.Maintainer+p.Homepage, "\"\n\\"):
		return errors.New("a text for INFO has a quote, a backslash or a line break")
	}
	for name := range p.Scripts {
		if !slices.Contains(scriptNames, name) {
			return fmt.Errorf("DSM calls no script %q", name)
		}
	}
	return nil
}

// info is the file that Package Center reads first.
func (p Package) info(inner []byte, size int64) string {
	sum := md5.Sum(inner)
	yes := map[bool]string{true: "yes", false: "no"}
	var b strings.Builder
	for _, field := range [][2]string{
		{"package", p.Name},
		{"version", fmt.Sprintf("%s-%d", p.Version, p.Build)},
		{"os_min_ver", "7.0-40000"},
		{"arch", platforms[p.Arch]},
		{"displayname", p.DisplayName},
		{"description", p.Description},
		{"maintainer", p.Maintainer},
		{"maintainer_url", p.Homepage},
		{"support_url", p.Homepage},
		{"thirdparty", "yes"},
		{"startable", yes[p.Startable]},
		{"ctl_stop", yes[p.Startable]},
		{"silent_install", "yes"},
		{"silent_upgrade", "yes"},
		{"silent_uninstall", "no"},
		{"extractsize", fmt.Sprint((size + 1023) / 1024)},
		{"checksum", hex.EncodeToString(sum[:])},
	} {
		fmt.Fprintf(&b, "%s=\"%s\"\n", field[0], field[1])
	}
	return b.String()
}

// resource puts the programs on everyone's path.
func (p Package) resource() string {
	var programs []string
	for _, f := range p.Files {
		if strings.HasPrefix(f.Path, "bin/") {
			programs = append(programs, `"`+f.Path+`"`)
		}
	}
	return `{"usr-local-linker": {"bin": [` + strings.Join(programs, ", ") + `]}}` + "\n"
}

// inner is package.tgz, and the size of what is in it.
func (p Package) inner() (b []byte, size int64, err error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, 0, err
	}
	if err := writeTar(zip, p.Files, p.Time); err != nil {
		return nil, 0, err
	}
	if err := zip.Close(); err != nil {
		return nil, 0, err
	}
	for _, f := range p.Files {
		size += int64(len(f.Data))
	}
	return out.Bytes(), size, nil
}

// writeTar writes files in their order, each folder before what is in it.
func writeTar(w io.Writer, files []File, at time.Time) error {
	t := tar.NewWriter(w)
	header := func(kind byte, name string, mode, size int64) error {
		return t.WriteHeader(&tar.Header{
			Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
		})
	}
	made := map[string]bool{}
	for _, f := range files {
		for i, c := range f.Path {
			folder := f.Path[:i] + "/"
			if c != '/' || made[folder] {
				continue
			}
			made[folder] = true
			if err := header(tar.TypeDir, folder, 0o755, 0); err != nil {
				return fmt.Errorf("add %s: %w", folder, err)
			}
		}
		if err := header(tar.TypeReg, f.Path, f.Mode, int64(len(f.Data))); err != nil {
			return fmt.Errorf("add %s: %w", f.Path, err)
		}
		if _, err := t.Write(f.Data); err != nil {
			return fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	return t.Close()
}
