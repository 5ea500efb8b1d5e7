package spk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image/png"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var testRelease = Release{Version: "1.2.3", Build: 345, Arch: "arm64", License: "MIT License\n", Time: time.Unix(1700000000, 0)}

type entry struct {
	mode int64
	data []byte
}

// unpack reads a tar, and refuses what DSM could trip over.
func unpack(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := found[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(testRelease.Time) || strings.HasPrefix(h.Name, "/") || strings.HasPrefix(h.Name, "./") {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		found[h.Name] = entry{h.Mode, b}
	}
}

func open(t *testing.T, p Package) (outer, inner map[string]entry) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	outer = unpack(t, &b)
	zip, err := gzip.NewReader(bytes.NewReader(outer["package.tgz"].data))
	if err != nil {
		t.Fatal(err)
	}
	return outer, unpack(t, zip)
}

func both() map[string]Package {
	return map[string]Package{"credant": Credant(testRelease, []byte("node")), "credant-relay": Relay(testRelease, []byte("relay"))}
}

func TestStructure(t *testing.T) {
	for name, p := range both() {
		t.Run(name, func(t *testing.T) {
			outer, inner := open(t, p)
			for _, file := range []string{"INFO", "package.tgz", "conf/privilege", "conf/resource", "LICENSE", "PACKAGE_ICON.PNG", "PACKAGE_ICON_256.PNG"} {
				if e, ok := outer[file]; !ok || e.mode != 0o644 || len(e.data) == 0 {
					t.Errorf("%s: there %v, mode %o, %d bytes", file, ok, e.mode, len(e.data))
				}
			}
			for _, script := range scriptNames {
				e := outer["scripts/"+script]
				if e.mode != 0o755 || !bytes.HasPrefix(e.data, []byte("#!/bin/sh\n")) {
					t.Errorf("script %s: mode %o, begins %.20q", script, e.mode, e.data)
				}
			}
			for file, size := range map[string]int{"PACKAGE_ICON.PNG": 64, "PACKAGE_ICON_256.PNG": 256} {
				c, err := png.DecodeConfig(bytes.NewReader(outer[file].data))
				if err != nil || c.Width != size || c.Height != size {
					t.Errorf("%s is %dx%d: %v", file, c.Width, c.Height, err)
				}
			}
			if e := inner["bin/"+name]; e.mode != 0o755 || len(e.data) == 0 {
				t.Errorf("bin/%s: mode %o, %d bytes", name, e.mode, len(e.data))
			}
			if e := inner["README.md"]; e.mode != 0o644 || len(e.data) == 0 {
				t.Errorf("README.md: mode %o, %d bytes", e.mode, len(e.data))
			}
		})
	}
}

func TestInfo(t *testing.T) {
	for name, p := range both() {
		outer, _ := open(t, p)
		info := map[string]string{}
		for line := range strings.Lines(string(outer["INFO"].data)) {
			m := regexp.MustCompile(`^([a-z_]+)="([^"]*)"\n$`).FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s: line %q of INFO", name, line)
			}
			info[m[1]] = m[2]
		}
		sum := md5.Sum(outer["package.tgz"].data)
		for field, want := range map[string]string{
			"package":    name,
			"version":    "1.2.3-345",
			"os_min_ver": "7.0-40000",
			"arch":       "armv8 armada37xx rtd1296 rtd1619b",
			"checksum":   hex.EncodeToString(sum[:]),
			"startable":  map[string]string{"credant": "no", "credant-relay": "yes"}[name],
		} {
			if info[field] != want {
				t.Errorf("%s: %s is %q, want %q", name, field, info[field], want)
			}
		}
		for _, field := range []string{"description", "maintainer", "displayname"} {
			if info[field] == "" {
				t.Errorf("%s: no %s", name, field)
			}
		}
		_, build, _ := strings.Cut(info["version"], "-")
		if _, err := strconv.ParseInt(build, 10, 32); err != nil {
			t.Errorf("%s: build: %v", name, err)
		}
	}
}

// DSM 7 refuses a package that asks for more.
func TestRunsAsPackage(t *testing.T) {
	for name, p := range both() {
		outer, _ := open(t, p)
		var privilege struct {
			Defaults map[string]string `json:"defaults"`
			Tool     []any             `json:"tool"`
		}
		if err := json.Unmarshal(outer["conf/privilege"].data, &privilege); err != nil {
			t.Fatal(err)
		}
		if privilege.Defaults["run-as"] != "package" || privilege.Tool != nil {
			t.Errorf("%s: privilege %+v", name, privilege)
		}
		var resource struct {
			Linker map[string][]string `json:"usr-local-linker"`
		}
		if err := json.Unmarshal(outer["conf/resource"].data, &resource); err != nil {
			t.Fatal(err)
		}
		_, inner := open(t, p)
		for _, program := range resource.Linker["bin"] {
			if _, ok := inner[program]; !ok {
				t.Errorf("%s: conf/resource links %s, which is not there", name, program)
			}
		}
	}
}

func TestSameBytes(t *testing.T) {
	for name, p := range both() {
		var one, two bytes.Buffer
		if err := errors.Join(Write(&one, p), Write(&two, p)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Errorf("%s: two builds differ", name)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Package){
		"architecture": func(p *Package) { p.Arch = "mips" },
		"version":      func(p *Package) { p.Version = "1.2.3-rc1" },
		"no version":   func(p *Package) { p.Version = "" },
		"build":        func(p *Package) { p.Build = 1 << 31 },
		"no build":     func(p *Package) { p.Build = 0 },
		"quote":        func(p *Package) { p.Description = `a "package"` },
		"script":       func(p *Package) { p.Scripts = map[string]string{"start": "#!/bin/sh\n"} },
	} {
		p := Credant(testRelease, nil)
		change(&p)
		if err := Write(io.Discard, p); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}
