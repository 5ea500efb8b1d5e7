// Package cli is what the commands of this repository have in common: flags
// whose values are understood when they are set, settings that come from flags,
// environment and a TOML file, errors of one line that say what to do next, and
// help in 80 columns.
//
// It knows no setting of any program. Start reading at layers.go.
package cli
