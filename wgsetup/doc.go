// Package wgsetup makes this host a member of a network: a WireGuard device,
// kernel or embedded, its addresses, routes and peers, and the side port on
// WireGuard's own UDP port.
//
// The host is changed by plan, then apply: the difference between what is
// wanted and what is there is computed purely (plan.go), printed as Steps and
// carried out. Applying twice changes nothing, and Run repairs in the same way
// what other software removes.
//
// A device's link alias ("credant:NETWORK"), nftables tables and the numbers of
// our routing tables tell the network, so that the next start adopts what a crash
// left and Clean finds it without a daemon. Peers of an adopted device are never
// replaced: their sessions live on.
//
// Desired.Forward makes the host carry packets between the network and others,
// and Desired.Exit all of the host's by a peer: planhost.go, planexit.go.
//
// A peer moves to another path without loss when package swap says when to set
// its endpoint, and how long SetRedirects passes the old path for the new one.
// SetKept makes another port's NAT mapping WireGuard's own. What is wanted is for
// the caller to say. Linux only; it takes CAP_NET_ADMIN, and for the embedded
// device /dev/net/tun (Check tells).
//
// A Device's methods may be called at once from several goroutines. Sockets are
// opened in the caller's network namespace. Start reading at Open, then plan.go.
package wgsetup
