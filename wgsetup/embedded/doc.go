// Package embedded runs WireGuard in this process: wireguard-go on a TUN
// device, for kernels without the WireGuard module.
//
// Its socket is shared. A Bind passes WireGuard's datagrams on to wireguard-go,
// in batches and with GSO and GRO, and everything else to the SidePort, whose
// writes leave through the same socket, so both have one NAT mapping. Both
// answer from the local address that was asked.
//
// The device is driven through wgctrl's types, encoded to and parsed from the
// cross-platform configuration protocol
// (https://www.wireguard.com/xplatform/#configuration-protocol) without a
// socket between. ServeUAPI offers the same protocol to wg(8).
//
// Addresses, routes and the link's state are left to the caller. Making the
// TUN device takes CAP_NET_ADMIN and /dev/net/tun. All methods may be called
// at once from several goroutines. Start reading at Open, then Bind.
package embedded
