package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed share
var shared embed.FS

const (
	maintainer = "The CredAnt authors <maintainers@credant.invalid>"
	homepage   = "https://github.com/credant/credant"
)

// texts makes what packages hold besides programs and manuals.
func (r *release) texts(context.Context) error {
	license, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return fmt.Errorf("read licence: %w", err)
	}
	for _, name := range names {
		changelog, err := compressed([]byte(fmt.Sprintf("%s (%s-1) unstable; urgency=medium\n\n  * Release %s. The project's history has the details:\n    %s\n\n -- %s  %s\n",
			name, r.version.in("deb"), r.text, homepage, maintainer, r.time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))))
		if err != nil {
			return err
		}
		for file, b := range map[string][]byte{
			"changelog.Debian.gz": changelog,
			"copyright":           copyright(string(license)),
			"overrides":           []byte(overrides[name]),
		} {
			if len(b) == 0 {
				continue
			}
			if err := write(filepath.Join(r.stage, name, file), b); err != nil {
				return err
			}
		}
	}
	for _, file := range []string{"credant.sysusers", "credant.tmpfiles"} {
		b, err := shared.ReadFile("share/" + file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if err := write(filepath.Join(r.stage, file), b); err != nil {
			return err
		}
	}
	return nil
}

// compressed has no name and no time in its header: the same bytes each time.
func compressed(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}

// copyright is the licence in Debian's machine-readable form.
func copyright(license string) []byte {
	holder := regexp.MustCompile(`(?m)^Copyright \(c\) (.*)$`).FindStringSubmatch(license)
	_, terms, _ := strings.Cut(license, "\n\nPermission")
	var b strings.Builder
	fmt.Fprintf(&b, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: CredAnt\nSource: %s\n\nFiles: *\nCopyright: %s\nLicense: Expat\n", homepage, holder[1])
	for line := range strings.Lines("Permission" + strings.TrimRight(terms, "\n") + "\n") {
		if line = strings.TrimRight(line, "\n"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return []byte(b.String())
}

var programPath = regexp.MustCompile(`/usr/(?:local/)?bin/(credant(?:-relay)?)`)

// installedByHand are lines of a comment that a package makes pointless.
var installedByHand = regexp.MustCompile(`(?m)^#   sudo install .*\n`)

// inPackage is a unit or script of deploy as a package holds it: with the
// program where packages put it.
func (r *release) inPackage(file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.root, "deploy", file))
	if err != nil {
		return "", fmt.Errorf("read what starts the program: %w", err)
	}
	b = installedByHand.ReplaceAll(b, nil)
	path := filepath.Join(r.stage, file)
	return path, write(path, programPath.ReplaceAll(b, []byte("/usr/bin/$1")))
}
