package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
)

//go:embed scripts
var scripts embed.FS

// calls says when a format calls which function of scripts/NAME.sh. The names
// are nfpm's; "upgrade" names are those of apk and archlinux, which tell it
// apart by the script and not by an argument.
var calls = map[string]map[string]string{
	"deb": {
		"postinstall": `case $1 in configure) installed; if [ -n "${2:-}" ]; then upgraded; fi ;; esac`,
		"preremove":   `case $1 in remove) removing ;; esac`,
		"postremove":  `case $1 in remove) removed ;; purge) disabled; purged; removed ;; esac`,
	},
	"rpm": { // the argument is how many versions stay
		"postinstall": `installed; if [ "$1" -gt 1 ]; then upgraded; fi`,
		"preremove":   `if [ "$1" -eq 0 ]; then removing; fi`,
		"postremove":  `if [ "$1" -eq 0 ]; then disabled; removed; fi`,
	},
	"apk": {
		"postinstall": `installed`,
		"postupgrade": `installed; upgraded`,
		"preremove":   `removing`,
		"postremove":  `disabled; removed`,
	},
	"archlinux": {
		"postinstall": `installed`,
		"postupgrade": `installed; upgraded`,
		"preremove":   `removing`,
		"postremove":  `disabled; removed`,
	},
}

// script writes one maintainer script and returns its path, "" where the
// format needs none.
func (r *release) script(name, format, when string) (string, error) {
	call := calls[format][when]
	if call == "" {
		return "", nil
	}
	functions, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		return "", fmt.Errorf("read script: %w", err)
	}
	path := filepath.Join(r.stage, "scripts", name, format, when)
	head := "#!/bin/sh\nset -e\n\n"
	if format == "archlinux" { // becomes the body of a function that pacman's shell calls
		head = ""
	}
	if err := write(path, []byte(head+string(functions)+"\n"+call+"\n")); err != nil {
		return "", err
	}
	if err := os.Chtimes(path, r.time, r.time); err != nil { // apk keeps it
		return "", fmt.Errorf("set time of script: %w", err)
	}
	return path, nil
}

// addScripts gives a package its scripts.
func (r *release) addScripts(info *nfpm.Info, format string) error {
	for when, to := range map[string]*string{
		"postinstall": &info.Scripts.PostInstall,
		"preremove":   &info.Scripts.PreRemove,
		"postremove":  &info.Scripts.PostRemove,
	} {
		path, err := r.script(info.Name, format, when)
		if err != nil {
			return err
		}
		*to = path
	}
	upgrade, err := r.script(info.Name, format, "postupgrade")
	if err != nil {
		return err
	}
	info.APK.Scripts.PostUpgrade = upgrade
	info.ArchLinux.Scripts.PostUpgrade = upgrade
	return nil
}
