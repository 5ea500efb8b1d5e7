// Command credant joins this machine to a private network that one passphrase
// makes.
//
// The package turns arguments, environment and settings files into calls of
// package control and of the local API's client, and their answers into text.
// What a network is and does is decided there, not here. Each subcommand has a
// file of its name; settings.go and layers.go say where settings come from,
// passphrase.go where the passphrase does, background.go how the daemon is
// started, render.go how a status looks.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage (78 as a service). Errors are one line on stderr
// and end with what to do next.
package main
