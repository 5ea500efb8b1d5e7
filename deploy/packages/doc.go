// Packages builds everything that a release is made of: deb, rpm, apk and
// archlinux packages of credant and credant-relay for amd64 and arm64, and the
// folder that install.sh installs from.
//
//	make packages                                 bin/release
//	go run . -root ../.. -out /tmp/release        the same, from this folder
//
// It is a module of its own, so that what writes packages (nfpm) is no
// dependency of the programs. The manual pages come from the programs
// themselves ("credant reference"), completions too ("credant completion"); the
// units and init scripts from deploy/systemd and deploy/openrc.
//
// Two builds of one commit give the same bytes: every time in a package is
// SOURCE_DATE_EPOCH, or else the commit's.
//
// Start reading at contents.go, which says what goes where. The scripts that a
// package manager runs are in scripts: an upgrade restarts the service, which
// keeps the tunnel; removal takes the networks down and keeps the keys; only a
// purge (dpkg alone knows it) deletes them.
package main
