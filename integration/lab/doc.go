// Package lab builds a small internet on one machine, out of network namespaces: a backbone with public hosts, NAT
// routers of every behaviour that RFC 4787 names, LANs behind them, host firewalls, a private BitTorrent DHT of foreign
// nodes, an RFC 5780 STUN server and packet captures.
//
// Describe it, then Build it; Close takes it away:
//
//	internet := lab.New()
//	home := internet.NAT("home", lab.PortRestricted)
//	alice := home.Host("alice")
//	server := internet.Host("server")
//	err := internet.Build()
//	defer internet.Close()
//
// Each node (host or router) is a network and a mount namespace of its own: /run and /var/lib are empty, /etc is a copy
// on write, so hosts, resolv.conf and the machine id are the node's own; all else, /tmp among it, is the host's.
// Namespaces have no names: the kernel removes them with the last process that holds them, so nothing is left after a
// panic, Ctrl-C or kill -9 either. Programs started in a node are killed with the process that holds the lab; what
// they left behind in the background, Close ends, or the next Build after a crash.
//
// Addresses look public (5.0.0.0/8 and 2a01::/16; CredAnt believes no other from the DHT) and never leave the
// namespaces. NAT is nftables, validated against coturn's behaviour discovery and by this package's own tests.
//
// Needs root and the nft command. A Lab is built and closed by one goroutine; the rest may be used from several.
// Start reading at lab.go, then node.go.
package lab
