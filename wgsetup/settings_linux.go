package wgsetup

import (
	"errors"
	"os"
	"slices"
	"strings"
)

const proc = "/proc/sys/"

// readSetting returns "" for a setting that there is not.
func readSetting(path string) string {
	b, err := os.ReadFile(proc + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func writeSetting(s setting) error {
	f, err := os.OpenFile(proc+s.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.value)
	return errors.Join(err, f.Close())
}

// name is what sysctl calls it.
func (s setting) name() string {
	// A dot in a link's name is a slash for sysctl.
	return strings.NewReplacer("/", ".", ".", "/").Replace(s.path)
}

// strictFilter says whether a link drops what does not come in by the way back
// (RFC 3704).
func strictFilter() bool {
	links, err := linkSettings()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(append(links, "all"), func(l string) bool {
		return readSetting("net/ipv4/conf/"+l+"/rp_filter") == "1"
	})
}

func linkSettings() (names []string, err error) {
	entries, err := os.ReadDir(proc + "net/ipv4/conf")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
