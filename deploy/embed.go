package deploy

import _ "embed" // the files below

// Program is where the files here expect credant.
const Program = "/usr/bin/credant"

// SystemdUnit is the template of a network's unit, credant@.service.
//
//go:embed systemd/credant@.service
var SystemdUnit string

// OpenRCScript is /etc/init.d/credant for OpenRC.
//
//go:embed openrc/credant
var OpenRCScript string

// ProcdScript is /etc/init.d/credant for OpenWrt.
//
//go:embed procd/credant
var ProcdScript string
