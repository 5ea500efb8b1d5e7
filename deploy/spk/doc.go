// Package spk writes Synology packages: a plain tar of INFO, a compressed
// package.tgz, scripts, conf and icons, as Synology's Package Developer Guide
// for DSM 7 describes them ("Synology Package").
//
// DSM 7 gives a package that Synology did not sign neither root nor
// capabilities. So the relay runs as the package's own user, and credant is
// started by a task that the administrator makes once: README.md says how, and
// what stays open. Nothing here has been run on a Synology NAS: the tests check
// structure, and run the scripts as far as a shell alone can.
//
// Write is pure: the same Package gives the same bytes. Start reading at
// spk.go; credant.go says what is in the two packages.
package spk
