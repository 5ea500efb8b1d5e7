// Package sideport gives a process the half of kernel WireGuard's UDP port
// that WireGuard has no use for: an ordinary UDP socket on a private port S,
// joined to WireGuard's port P by one stateless nftables table.
//
// On output, before conntrack, source port S becomes P, so WireGuard and the
// socket share one NAT mapping. On input, after the host's own firewall, what
// arrives for P and is not WireGuard's becomes S, so a datagram arrives
// exactly when WireGuard's would. ICMP errors that quote P follow it. Addresses
// stay as they are, and the socket answers from the one that was asked.
//
// Where the kernel has owner tables (5.12), the table is one: it survives "nft
// flush ruleset" and vanishes with the process. Elsewhere Run notices that it
// was removed and puts it back.
//
// S lies outside the ephemeral range: else a table that outlives its process
// would send another program's datagrams out as P. The socket sets DF and
// ignores the kernel's path MTU cache (IP_PMTUDISC_PROBE), which RFC 8899
// needs.
//
// IPv4 multicast for P does not reach the socket while WireGuard is up: the
// kernel's early demultiplexing gives it to WireGuard before the input hook.
//
// It takes CAP_NET_ADMIN. Start reading at rules.go.
package sideport
