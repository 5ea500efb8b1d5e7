// Package static is the discovery source of addresses that the user gave:
// --bootstrap HOST:PORT.
//
// It resolves names again and again and names the addresses at the pace that
// two nodes behind two NATs need: each second for two minutes, then ever more
// rarely. Whether a member answers there is for discovery.Greeter to find out.
//
// Source is safe for concurrent use. It needs no privileges, and of the network
// only the host's resolver. Start at New.
package static
