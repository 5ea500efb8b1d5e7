// Package portmap asks the gateways of this host to forward WireGuard's UDP
// port: by PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP IGD 2 and 1, all at once;
// the first in that order that works is used, renewed at half of its lifetime and
// given back at exit. Over IPv6 PCP opens a pinhole in the gateway's firewall.
//
// Routers are wrong in many ways, and what this package does about each has a
// test against a fake one. An external address that is not global is kept, but
// Nested: a NAT above this one hides it, and nobody may be told of it.
//
// Whoever else asks a gateway is on the LAN, so nothing here is secret or safe
// from neighbours; answers are taken only from the gateway that was asked, with
// limits on their size, number and time, and UPnP is spoken to no other host than
// the gateway, whatever a description says.
//
// A Mapper's Run owns its goroutines and sockets; all else may be called from
// anywhere. While nothing changes it costs the renewals and one socket that
// listens for a gateway's announcements. It needs no privileges. The package pcp
// is the codec; mapper.go is where to start, decide.go is what is decided.
package portmap
