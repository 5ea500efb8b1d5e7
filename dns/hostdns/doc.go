// Package hostdns points this host's own resolver at a network's name server,
// for the network's names alone, and puts it back.
//
// It tries, in this order, what the host uses: systemd-resolved over D-Bus, a
// resolvconf that can send one domain to one server (openresolv with a local
// resolver), and last a marked block in /etc/hosts, written in place under a
// journal. /etc/resolv.conf is never written. choose.go decides; each way plans
// the difference between what it wants and what is there, then applies it, so
// that applying twice changes nothing.
//
// Run keeps what it applied: it hears systemd-resolved restart, others rewrite
// /etc/hosts, and the host change its resolver. The record, a file, says what to
// undo, so that the next Run adopts what a crash left and Clean removes it
// without a daemon.
//
// What is served and which names there are is for the caller to say. It takes
// root: D-Bus lets others change a link's name servers only by polkit.
//
// A Host's methods may be called at once from several goroutines; constructors
// start nothing. Start reading at Run.
package hostdns
