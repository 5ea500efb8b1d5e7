// Package deploy holds what makes CredAnt a service of a host: unit files and
// init scripts. Packages put them where they belong, and the program carries
// them for hosts where it was copied to by hand (package deploy/service). Its
// tests hold them to what systemd, OpenRC and a shell make of them.
//
//	systemd/credant@.service   /usr/lib/systemd/system/credant@.service
//	openrc/credant             /etc/init.d/credant (0755)
//	procd/credant              /etc/init.d/credant (0755) on OpenWrt
//	credant-relay.service      /usr/lib/systemd/system/credant-relay.service
//	cloud-init/                what a cloud hands a machine that shall join by itself
//
// The first three start /usr/bin/credant, the relay's /usr/local/bin/credant-relay:
// whoever puts the program elsewhere replaces that path.
package deploy
