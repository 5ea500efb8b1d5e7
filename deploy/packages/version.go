package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// version is what git says of a commit, in parts that each format can order.
type version struct {
	number  string // 1.2.3
	pre     string // rc1: sorts before the number alone
	commits string // how many commits after the tag, or in all where there is none
	commit  string // its short name
	dirty   bool
	count   string // how many commits in all
}

var described = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-([a-z]+\.?\d*))?(?:-(\d+)-g([0-9a-f]+))?$`)

var untagged = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// parseVersion reads what "git describe --tags --always --dirty" prints. count
// is the number of commits, which orders the versions of a history without tags.
func parseVersion(text, count string) (version, error) {
	clean, dirty := strings.CutSuffix(text, "-dirty")
	v := version{number: "0.0.0", commits: count, commit: clean, dirty: dirty, count: count}
	// A tag has a dot or a v, which a commit's short name has not.
	if untagged.MatchString(clean) {
		return v, nil
	}
	if m := described.FindStringSubmatch(clean); m != nil {
		v.number, v.pre, v.commits, v.commit = m[1], strings.ReplaceAll(m[2], ".", ""), m[3], m[4]
		return v, nil
	}
	return version{}, fmt.Errorf("read version %q: write it as 1.2.3, 1.2.3-rc1 or what git describe prints", text)
}

// suffix says which commit it is where that is not a tag's.
func (v version) suffix() string {
	var s string
	if v.commit != "" {
		s = "+" + v.commits + ".g" + v.commit
	}
	if v.dirty {
		s += map[bool]string{true: "+", false: "."}[s == ""] + "dirty"
	}
	return s
}

// build is the number that Synology's packages are ordered by.
func (v version) build() string { return cmp.Or(v.count, "1") }

// in is the version as a format spells it.
func (v version) in(format string) string {
	switch format {
	case "apk": // numbers and a few words alone: 1.2.3_rc1_p5
		s := v.number
		if v.pre != "" {
			s += "_" + v.pre
		}
		if v.commit != "" {
			s += "_p" + v.commits
		}
		return s
	case "archlinux": // letters right after the number sort before it
		return v.number + v.pre + v.suffix()
	}
	if v.pre != "" {
		return v.number + "~" + v.pre + v.suffix()
	}
	return v.number + v.suffix()
}
