// Package cli is what the commands of this repository have in common: flags
// whose values are understood when they are set, settings that come from flags,
// environment and a TOML file, errors of one line that say what to do next,
// help in 80 columns, and completion in shells.
//
// It knows no setting of any program. Start reading at run.go, which carries out
// a command line, and layers.go, which collects the settings.
package cli
