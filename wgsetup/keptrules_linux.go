package wgsetup

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nft"
)

// Hook priorities. Both lie between WireGuard and the side port's table, which
// is at -310 and 300: what leaves has WireGuard's port already, whoever sent
// it, and what arrives has it before somebody asks whose it is. Output comes
// before conntrack (-200), so that the datagrams join the connection that the
// extra port's own began, and a firewall takes answers for such. Redirects, at
// 301, come last: they know a remote by its address, which nothing here
// changes, and WireGuard by its own port, which it has by then.
const (
	keptOutputPriority = -309
	keptInputPriority  = 299
)

// keptChains is, for each family (W is a port kept towards the remote R):
//
//	out: udp sport P  ip daddr . udp dport { R . RPORT : W }  udp sport set W
//	in:  iifname WG accept                     # what comes out of the tunnel is not for us
//	     ip saddr . udp sport . udp dport { R . RPORT . W }  udp dport set P
//	     icmp type 3, 11 quoting ip daddr . udp dport . udp sport { R . RPORT . W }: set P
//
// One look-up, however many there are. ICMP errors have P after that, and so
// find the side port.
func keptChains(all []Kept, iface string, port uint16) []nft.Chain {
	if len(all) == 0 {
		return nil
	}
	var out []nft.Rule
	in := []nft.Rule{nft.Concat(nft.MatchInterface(iface), nft.Rule{nft.Accept()})}
	for _, family := range keptFamilies {
		var remotes, flows []nftables.SetElement
		for _, k := range all {
			if k.Remote.Addr().Is4() != (family.protocol == unix.NFPROTO_IPV4) {
				continue
			}
			kept := append(nft.Port(k.Port), 0, 0) // fills a register
			remotes = append(remotes, nftables.SetElement{Key: addressAndPort(k.Remote), Val: nft.Port(k.Port)})
			flows = append(flows, nftables.SetElement{Key: append(addressAndPort(k.Remote), kept...)})
		}
		if len(remotes) == 0 {
			continue
		}
		out = append(out, family.outputRule(port, remotes))
		in = append(in, family.inputRule(port, flows))
		for _, kind := range family.icmpTypes {
			in = append(in, family.icmpRule(port, kind, flows))
		}
	}
	return []nft.Chain{
		{Name: "out", Hook: nftables.ChainHookOutput, Priority: keptOutputPriority, Rules: out},
		{Name: "in", Hook: nftables.ChainHookInput, Priority: keptInputPriority, Rules: in},
	}
}

// keptFamily is where a family has its addresses, in a packet and in one that
// an ICMP error quotes.
type keptFamily struct {
	protocol            byte // NFPROTO
	address             nftables.SetDatatype
	size                uint32 // of an address
	source, destination uint32
	icmp                byte
	icmpTypes           [][2]byte // first and last
	header              uint32    // of IP, without options, as ours has none
	nextProtocol        uint32
}

var keptFamilies = []keptFamily{
	{
		protocol: unix.NFPROTO_IPV4, address: nftables.TypeIPAddr, size: 4,
		source: 12, destination: 16, header: 20, nextProtocol: 9,
		// Destination unreachable, time exceeded.
		icmp: unix.IPPROTO_ICMP, icmpTypes: [][2]byte{{3, 3}, {11, 11}},
	},
	{
		protocol: unix.NFPROTO_IPV6, address: nftables.TypeIP6Addr, size: 16,
		source: 8, destination: 24, header: 40, nextProtocol: 6,
		// Destination unreachable, packet too big, time exceeded, parameter
		// problem.
		icmp: unix.IPPROTO_ICMPV6, icmpTypes: [][2]byte{{1, 4}},
	},
}

// Registers are of four bytes, and a port fills one. They begin where the one
// that rules compare in does.
const keptKey = nft.Register32

func (f keptFamily) outputRule(port uint16, remotes []nftables.SetElement) nft.Rule {
	remotePort := keptKey + f.size/4
	kept := remotePort + 1
	return nft.Concat(
		f.match(),
		nft.MatchUDP(nft.SourcePort, port),
		nft.Rule{
			load(expr.PayloadBaseNetworkHeader, f.destination, f.size, keptKey),
			load(expr.PayloadBaseTransportHeader, nft.DestinationPort, 2, remotePort),
			nft.Lookup{
				Source: keptKey, Destination: kept, Elements: remotes,
				Key:  nftables.MustConcatSetType(f.address, nftables.TypeInetService),
				Data: nftables.TypeInetService,
			},
			nft.StorePort(kept, nft.SourcePort, nft.UDPChecksum),
		},
	)
}

func (f keptFamily) inputRule(port uint16, flows []nftables.SetElement) nft.Rule {
	remotePort := keptKey + f.size/4
	return nft.Concat(
		f.match(),
		nft.MatchProtocol(unix.IPPROTO_UDP),
		nft.Rule{
			load(expr.PayloadBaseNetworkHeader, f.source, f.size, keptKey),
			load(expr.PayloadBaseTransportHeader, nft.SourcePort, 2, remotePort),
			load(expr.PayloadBaseTransportHeader, nft.DestinationPort, 2, remotePort+1),
			f.lookup(flows),
		},
		nft.SetPort(nft.DestinationPort, port, nft.UDPChecksum),
	)
}

// icmpHeader is before the packet that an ICMP error quotes.
const icmpHeader = 8

func (f keptFamily) icmpRule(port uint16, kinds [2]byte, flows []nftables.SetElement) nft.Rule {
	remotePort := keptKey + f.size/4
	quotedUDP := icmpHeader + f.header
	return nft.Concat(
		f.match(),
		nft.MatchProtocol(f.icmp),
		nft.Rule{
			nft.Load(0, 1),
			&expr.Range{Op: expr.CmpOpEq, Register: nft.Register, FromData: kinds[:1], ToData: kinds[1:]},
		},
		nft.Rule{nft.Load(icmpHeader+f.nextProtocol, 1), nft.Equal([]byte{unix.IPPROTO_UDP})},
		nft.Rule{
			load(expr.PayloadBaseTransportHeader, icmpHeader+f.destination, f.size, keptKey),
			load(expr.PayloadBaseTransportHeader, quotedUDP+nft.DestinationPort, 2, remotePort),
			load(expr.PayloadBaseTransportHeader, quotedUDP+nft.SourcePort, 2, remotePort+1),
			f.lookup(flows),
		},
		nft.SetPort(quotedUDP+nft.SourcePort, port, nft.ICMPChecksum),
	)
}

func (f keptFamily) match() nft.Rule {
	return nft.Rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: nft.Register}, nft.Equal([]byte{f.protocol})}
}

func (f keptFamily) lookup(flows []nftables.SetElement) nft.Lookup {
	return nft.Lookup{
		Source: keptKey, Elements: flows,
		Key: nftables.MustConcatSetType(f.address, nftables.TypeInetService, nftables.TypeInetService),
	}
}

func load(base expr.PayloadBase, offset, size, register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size}
}
