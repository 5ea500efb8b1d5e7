// Command credant-relay lets nodes that find no direct path to each other meet:
// it is a UDP relay, a STUN server, a rendezvous and a DHT node in one process,
// for a host that the internet can reach.
//
// The package turns arguments, environment and a settings file into the
// configuration of package relayd, which does the work. settings.go lists the
// settings, serve.go reads them again at SIGHUP, notify.go speaks to systemd.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are one line on stderr
// and end with what to do next.
package main
