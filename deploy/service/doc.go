// Package service makes a network a service of this host, and unmakes it: for
// systemd, OpenRC, and OpenWrt's procd.
//
// Plan first, then apply: Install and Uninstall look at what is there and return
// steps with a text each; Apply carries them out. What is there already is no
// step, so doing it twice changes nothing. Files are those of package deploy; a
// file that a package or a person put in place is left alone, which a line at
// the top of our own tells (mark.go). Settings, keys and passphrases are the
// caller's.
//
// It needs root, and writes nothing outside of Host.Root. Nothing here runs in
// the background. Start reading at manager.go.
package service
