package spk

import (
	_ "embed" // the scripts
	"time"
)

//go:embed scripts/credant-dsm
var credantDSM string

//go:embed scripts/credant-preuninst
var credantPreuninst string

//go:embed scripts/credant-postinst
var credantPostinst string

//go:embed scripts/relay-start-stop-status
var relayStartStopStatus string

//go:embed scripts/relay-preinst
var relayPreinst string

//go:embed README.md
var readme []byte

// Release is what both packages of a release share.
type Release struct {
	Version string // numbers with dots
	Build   int
	Arch    string // in Go's words
	License string
	Time    time.Time
}

const (
	maintainer = "The CredAnt authors"
	homepage   = "https://github.com/credant/credant"
)

// Credant is the package of the node.
func Credant(r Release, program []byte) Package {
	return Package{
		Name:        "credant",
		DisplayName: "CredAnt",
		Version:     r.Version,
		Build:       r.Build,
		Arch:        r.Arch,
		Description: "An encrypted private network from one passphrase. After installing, make the task that starts it as root: README.md in the package's folder says how.",
		Maintainer:  maintainer,
		Homepage:    homepage,
		License:     r.License,
		Files: []File{
			{"bin/credant", 0o755, program},
			{"bin/credant-dsm", 0o755, []byte(credantDSM)},
			{"README.md", 0o644, readme},
		},
		Scripts: map[string]string{"postinst": credantPostinst, "preuninst": credantPreuninst},
		Time:    r.Time,
	}
}

// Relay is the package of the relay, which needs no rights that DSM does not give.
func Relay(r Release, program []byte) Package {
	return Package{
		Name:        "credant-relay",
		DisplayName: "CredAnt Relay",
		Version:     r.Version,
		Build:       r.Build,
		Arch:        r.Arch,
		Description: "A relay for networks made with CredAnt. It lets their machines find each other and carries their traffic, which it cannot read, where no direct path is.",
		Maintainer:  maintainer,
		Homepage:    homepage,
		License:     r.License,
		Startable:   true,
		Files: []File{
			{"bin/credant-relay", 0o755, program},
			{"README.md", 0o644, readme},
		},
		Scripts: map[string]string{"start-stop-status": relayStartStopStatus, "preinst": relayPreinst},
		Time:    r.Time,
	}
}
