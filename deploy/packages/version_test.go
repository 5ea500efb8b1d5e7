package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	for _, c := range []struct{ text, deb, apk, arch string }{
		{"v1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-rc1", "1.2.3~rc1", "1.2.3_rc1", "1.2.3rc1"},
		{"v1.2.3-rc.1", "1.2.3~rc1", "1.2.3_rc1", "1.2.3rc1"},
		{"v1.2.3-5-g1d3074c", "1.2.3+5.g1d3074c", "1.2.3_p5", "1.2.3+5.g1d3074c"},
		{"v1.2.3-rc1-5-g1d3074c-dirty", "1.2.3~rc1+5.g1d3074c.dirty", "1.2.3_rc1_p5", "1.2.3rc1+5.g1d3074c.dirty"},
		{"v1.2.3-dirty", "1.2.3+dirty", "1.2.3", "1.2.3+dirty"},
		{"1d3074c", "0.0.0+331.g1d3074c", "0.0.0_p331", "0.0.0+331.g1d3074c"},
		{"1130744", "0.0.0+331.g1130744", "0.0.0_p331", "0.0.0+331.g1130744"},
	} {
		v, err := parseVersion(c.text, "331")
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := [3]string{v.in("deb"), v.in("apk"), v.in("archlinux")}; got != [3]string{c.deb, c.apk, c.arch} {
			t.Errorf("%s is %q", c.text, got)
		}
		if v.in("rpm") != v.in("deb") || v.build() != "331" {
			t.Errorf("%s: rpm %s, build %s", c.text, v.in("rpm"), v.build())
		}
	}
	for _, bad := range []string{"", "unknown", "1.2.3 4", "v1.2.3-rc1-x", "main"} {
		if v, err := parseVersion(bad, "1"); err == nil {
			t.Errorf("%q is taken for %+v", bad, v)
		}
	}
}

// A release candidate comes before its release, and commits after a tag follow it.
func TestVersionsAreOrdered(t *testing.T) {
	var versions []string
	for _, text := range []string{"1d3074c", "v1.2.3-rc1", "v1.2.3-rc1-5-g1d3074c", "v1.2.3-rc2", "v1.2.3", "v1.2.3-1-gfffffff", "v1.2.3-12-g0000000", "v1.2.4"} {
		v, err := parseVersion(text, "9")
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v.in("deb"))
	}
	for i := range len(versions) - 1 {
		need(t, "dpkg")
		if err := exec.Command("dpkg", "--compare-versions", versions[i], "lt", versions[i+1]).Run(); err != nil {
			t.Errorf("dpkg: %s is not before %s", versions[i], versions[i+1])
		}
		need(t, "rpm")
		lua := "%{lua: print(rpm.vercmp('" + versions[i] + "', '" + versions[i+1] + "'))}"
		if out, err := exec.Command("rpm", "--eval", lua).Output(); err != nil || strings.TrimSpace(string(out)) != "-1" {
			t.Errorf("rpm: %s before %s: %s %v", versions[i], versions[i+1], out, err)
		}
	}
}
