package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// need skips the test without a program of integration/deps; where
// CREDANT_TEST_STRICT is set, as in CI, that is a failure.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, program+" is not installed: run integration/deps")
		}
	}
}

func skip(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_STRICT") != "" {
		t.Fatal("a test that CREDANT_TEST_STRICT requires cannot run: " + missing)
	}
	t.Skip(missing)
}

// releases is where the tests' releases are.
var releases string

func TestMain(m *testing.M) {
	var err error
	if releases, err = os.MkdirTemp("", "credant-releases-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(releases)
	os.Exit(code)
}

// older builds the programs; the others take them, so that a test costs seconds.
var (
	older = sync.OnceValues(func() (string, error) {
		programs, err := built()
		if err != nil {
			return "", err
		}
		return makeRelease("older", "v1.2.3-rc1", programs, runtime.GOARCH, "deb")
	})
	newer = sync.OnceValues(func() (string, error) {
		from, err := older()
		if err != nil {
			return "", err
		}
		return makeRelease("newer", "v1.2.3", filepath.Join(from, "programs"), runtime.GOARCH, everyFormat)
	})
)

// built is a folder of the programs that the Makefile has built, "" without it.
func built() (string, error) {
	folder := filepath.Join(releases, "built")
	for variable, name := range map[string]string{"CREDANT_BIN": "credant", "CREDANT_RELAY_BIN": "credant-relay"} {
		path := os.Getenv(variable)
		if path == "" {
			return "", nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the program to test: %w", err)
		}
		if err := write(filepath.Join(folder, runtime.GOARCH, name), b); err != nil {
			return "", err
		}
	}
	return folder, nil
}

const everyFormat = "deb,rpm,apk,archlinux,spk"

func makeRelease(name, version, programs, arch, formats string) (string, error) {
	out := filepath.Join(releases, name)
	args := []string{"-out", out, "-version", version, "-arch", arch, "-programs", programs, "-formats", formats}
	var log bytes.Buffer
	if err := run(context.Background(), args, &log, &log); err != nil {
		return "", fmt.Errorf("%w\n%s", err, log.Bytes())
	}
	return out, nil
}

func folderOf(t *testing.T, of func() (string, error)) string {
	t.Helper()
	folder, err := of()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	need(t, name)
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// file is the one of a release whose name matches a pattern.
func file(t *testing.T, folder, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s matches %q, want one file (%v)", pattern, found, err)
	}
	return found[0]
}

var packageFiles = map[string]map[string]string{
	"credant":       {"deb": "credant_*_amd64.deb", "rpm": "credant-1*.x86_64.rpm", "apk": "credant_*_x86_64.apk", "archlinux": "credant-1*-x86_64.pkg.tar.zst"},
	"credant-relay": {"deb": "credant-relay_*_amd64.deb", "rpm": "credant-relay-1*.x86_64.rpm", "apk": "credant-relay_*_x86_64.apk", "archlinux": "credant-relay-1*-x86_64.pkg.tar.zst"},
}

// members are the files of a package with mode and owner: "-rwxr-xr-x root".
func members(t *testing.T, path string) map[string]string {
	t.Helper()
	if strings.HasSuffix(path, ".deb") {
		data := filepath.Join(t.TempDir(), "data.tar")
		if err := os.WriteFile(data, []byte(output(t, "dpkg-deb", "--fsys-tarfile", path)), 0o600); err != nil {
			t.Fatal(err)
		}
		path = data
	}
	found := map[string]string{}
	for line := range strings.Lines(output(t, "bsdtar", "-tvf", path)) {
		fields := strings.Fields(line)
		owner := strings.NewReplacer("0", "root").Replace(fields[2] + ":" + fields[3])
		name := "/" + strings.Trim(strings.TrimPrefix(fields[8], "."), "/")
		if strings.HasPrefix(fields[8], ".") && !strings.HasPrefix(fields[8], "./") {
			name = fields[8] // apk's and pacman's own
		}
		found[name] = fields[0] + " " + owner
	}
	return found
}

func TestContents(t *testing.T) {
	folder := folderOf(t, newer)
	const program, plain, dir = "-rwxr-xr-x root:root", "-rw-r--r-- root:root", "drwxr-xr-x root:root"
	everywhere := map[string]string{
		"/usr/bin/NAME": program,
		"/usr/share/bash-completion/completions/NAME":    plain,
		"/usr/share/fish/vendor_completions.d/NAME.fish": plain,
		"/usr/share/man/man8/NAME.8.gz":                  plain,
		"/usr/share/man/man5/NAME.toml.5.gz":             plain,
	}
	of := map[string]map[string]string{
		"deb":       {"/usr/share/zsh/vendor-completions/_NAME": plain, "/usr/share/doc/NAME/copyright": plain, "/usr/share/doc/NAME/changelog.Debian.gz": plain},
		"rpm":       {"/usr/share/zsh/site-functions/_NAME": plain, "/usr/share/licenses/NAME/LICENSE": plain},
		"apk":       {"/usr/share/zsh/site-functions/_NAME": plain, "/usr/share/licenses/NAME/LICENSE": plain, ".post-install": program, ".post-upgrade": program, ".pre-deinstall": program, ".post-deinstall": program},
		"archlinux": {"/usr/share/zsh/site-functions/_NAME": plain, "/usr/share/licenses/NAME/LICENSE": plain, ".INSTALL": plain, ".MTREE": plain},
	}
	own := map[string]map[string]string{
		"credant":       {"/etc/credant": dir, "/usr/share/doc/credant/reference.toml": plain, "/usr/share/doc/credant/README.md": plain, "/usr/share/man/man8/credant-up.8.gz": plain},
		"credant-relay": {"/usr/share/doc/credant-relay/credant-relay.toml": plain, "/usr/share/man/man8/credant-relay-key.8.gz": plain},
	}
	started := map[string]map[string]string{
		"credant":       {"/usr/lib/systemd/system/credant@.service": plain, "/usr/lib/sysusers.d/credant.conf": plain, "/usr/lib/tmpfiles.d/credant.conf": plain},
		"credant-relay": {"/usr/lib/systemd/system/credant-relay.service": plain},
	}
	for name, patterns := range packageFiles {
		for format, pattern := range patterns {
			t.Run(name+"/"+format, func(t *testing.T) {
				got := members(t, file(t, folder, pattern))
				sets := []map[string]string{everywhere, of[format], own[name]}
				if format != "apk" {
					sets = append(sets, started[name])
				} else if name == "credant" {
					sets = append(sets, map[string]string{"/etc/init.d/credant": program})
				}
				for _, set := range sets {
					for path, want := range set {
						path = strings.ReplaceAll(path, "NAME", name)
						if got[path] != want {
							t.Errorf("%s is %q, want %q", path, got[path], want)
						}
					}
				}
				for path, is := range got {
					if strings.HasPrefix(path, "/") && is != program && is != plain && is != dir {
						t.Errorf("%s is %q", path, is)
					}
					if format == "apk" && strings.Contains(path, "systemd") {
						t.Errorf("%s is of no use there", path)
					}
					if strings.Contains(path, "/var/lib") || strings.Contains(path, "/usr/local") {
						t.Errorf("%s must not belong to a package", path)
					}
				}
			})
		}
	}
}

// Units and scripts name the program where packages put it.
func TestUnitStartsThePackagedProgram(t *testing.T) {
	folder := folderOf(t, newer)
	for name, unit := range map[string]string{"credant": "credant@.service", "credant-relay": "credant-relay.service"} {
		root := t.TempDir()
		output(t, "dpkg-deb", "-x", file(t, folder, packageFiles[name]["deb"]), root)
		b, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system", unit))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte("\nExecStart=/usr/bin/"+name)) || bytes.Contains(b, []byte("/usr/local/bin")) {
			t.Errorf("%s:\n%s", unit, b)
		}
	}
}

func TestLintian(t *testing.T) {
	folder := folderOf(t, newer)
	need(t, "lintian")
	for _, patterns := range packageFiles {
		cmd := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", file(t, folder, patterns["deb"]))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("lintian: %v\n%s", err, out)
		}
	}
}

func TestFields(t *testing.T) {
	folder := folderOf(t, newer)
	for name, patterns := range packageFiles {
		fields := output(t, "dpkg-deb", "--field", file(t, folder, patterns["deb"]))
		for _, line := range []string{"Package: " + name, "Version: 1.2.3-1", "Architecture: amd64", "Section: net"} {
			if !strings.Contains(fields, line+"\n") {
				t.Errorf("deb has no %q:\n%s", line, fields)
			}
		}
		rpm := file(t, folder, patterns["rpm"])
		if got := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{BUILDHOST}", rpm); got != name+" 1.2.3 1 x86_64 MIT localhost" {
			t.Errorf("rpm is %q", got)
		}
		if out := output(t, "rpm", "-Kv", "--nosignature", rpm); strings.Contains(out, "BAD") {
			t.Errorf("rpm: %s", out)
		}
		for format, lines := range map[string][]string{
			"apk":       {"pkgname = " + name, "pkgver = 1.2.3-r1", "arch = x86_64", "license = MIT"},
			"archlinux": {"pkgname = " + name, "pkgver = 1.2.3-1", "arch = x86_64", "license = MIT"},
		} {
			info := output(t, "bsdtar", "-xOf", file(t, folder, patterns[format]), ".PKGINFO")
			for _, line := range lines {
				if !strings.Contains(info, line+"\n") {
					t.Errorf("%s has no %q:\n%s", format, line, info)
				}
			}
		}
	}
}

// Every script is one that its shell understands, and shellcheck finds nothing in it.
func TestScripts(t *testing.T) {
	r := release{stage: t.TempDir()}
	for _, name := range names {
		for format, calls := range calls {
			for when := range calls {
				path, err := r.script(name, format, when)
				if err != nil {
					t.Fatal(err)
				}
				output(t, "shellcheck", "--shell=sh", "--exclude=SC2317,SC2329", path)
			}
		}
	}
	output(t, "shellcheck", "../install.sh")
	install := output(t, "bsdtar", "-xOf", file(t, folderOf(t, newer), packageFiles["credant"]["archlinux"]), ".INSTALL")
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(install)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(install, "function post_upgrade()") {
		t.Errorf("pacman's script: %v\n%s", err, out)
	}
}

// Whoever builds the same commit gets the same release.
func TestSameBytes(t *testing.T) {
	programs := filepath.Join(folderOf(t, older), "programs")
	// A program of a few bytes is packed as one of many megabytes is, in no time.
	for _, name := range names {
		if err := write(filepath.Join(programs, "arm64", name), []byte("a program")); err != nil {
			t.Fatal(err)
		}
	}
	var folders [2]string
	for i, name := range []string{"one", "two"} {
		var err error
		if folders[i], err = makeRelease(name, "v1.2.3", programs, "arm64", everyFormat); err != nil {
			t.Fatal(err)
		}
	}
	one, two := sums(t, folders[0]), sums(t, folders[1])
	if len(one) < 20 {
		t.Fatalf("a release of %d files", len(one))
	}
	for path, sum := range one {
		if two[path] != sum {
			t.Errorf("%s differs", path)
		}
	}
}

func sums(t *testing.T, folder string) map[string][32]byte {
	t.Helper()
	found := map[string][32]byte{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		found[name] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
