// Package sticky remembers at which of this host's addresses each remote last
// reached it, so that an answer leaves from there: a remote takes one from
// another address for somebody else's, and so do firewalls on the way.
//
// A Source is what the kernel says of a datagram received (IP_PKTINFO,
// IPV6_PKTINFO), and is given back to it with one to send. Sources is a bounded
// table of them, and knows when one is not to be used any more: after a while,
// and, over IPv4, as soon as the way to the remote leaves by another link. The
// kernel's WireGuard has the latter rule, and wireguard-go for its own Bind.
// Over IPv6 the kernel takes the link for a preference.
//
// A source address that the host has lost makes the sending call fail: Lost
// recognises that, and sending again without a Source is for the caller.
//
// No privileges. All methods may be called at once from several goroutines.
// Start reading at Sources.
package sticky
