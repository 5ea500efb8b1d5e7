// Package deploy holds what installs CredAnt on a host: systemd units. There is
// no code in it; its tests hold the units to what systemd makes of them.
package deploy
