package wgsetup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nft"
)

// CanRedirect says whether SetRedirects can take this one: with the embedded
// backend any, with the kernel within one family, and to no IPv6 link-local
// address.
func (d *Device) CanRedirect(from, to netip.AddrPort) bool {
	return from.IsValid() && to.IsValid() && d.backend.canRedirect(from, to)
}

// SetRedirects makes these all the redirects that there are. Setting the same
// again does nothing; in the kernel a change takes tens of milliseconds. They
// end with the Device, and with the process.
func (d *Device) SetRedirects(all []Redirect) error {
	redirects, err := normalizeRedirects(all)
	if err != nil {
		return err
	}
	for _, r := range redirects {
		if !d.backend.canRedirect(r.From, r.To) {
			return errRedirect(r, errors.New("the kernel cannot"))
		}
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if !closed {
		// Without the mutex, so that other peers' endpoints need not wait.
		err = d.backend.setRedirects(redirects)
	}
	switch {
	case !closed && !errors.Is(err, nft.ErrClosed):
		return err
	case len(redirects) == 0:
		return nil
	default:
		return ErrClosed
	}
}

// redirectPriority comes after the side port's table: what is not WireGuard's
// has left for another port by then. In the input hook a source may be one
// that strict reverse path filtering would have dropped.
const redirectPriority = 301

// kernelRedirects are an nftables table, which is there while there are any.
type kernelRedirects struct {
	table *nft.Table

	mu   sync.Mutex
	port uint16 // WireGuard's
	set  []Redirect
}

func openKernelRedirects(table string, port uint16, log *slog.Logger) (*kernelRedirects, error) {
	t, err := nft.Open(table, log)
	if err != nil {
		return nil, err
	}
	return &kernelRedirects{table: t, port: port}, nil
}

func (k *kernelRedirects) run(ctx context.Context) error { return k.table.Run(ctx) }

func (k *kernelRedirects) close() error { return k.table.Close() }

// setAll expects them normalized.
func (k *kernelRedirects) setAll(all []Redirect) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Equal(all, k.set) {
		return nil
	}
	return k.apply(all)
}

// setPort follows WireGuard to another port.
func (k *kernelRedirects) setPort(port uint16) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if port == k.port {
		return nil
	}
	k.port = port
	return k.apply(k.set)
}

func (k *kernelRedirects) apply(all []Redirect) error {
	if err := k.table.Set(redirectChains(all, k.port)); err != nil {
		k.set = nil // what is there is not known: the next call tries again
		return err
	}
	k.set = all
	return nil
}

// redirectChains is, for each family:
//
//	udp dport P @th,64,32 {1..4} ip saddr . udp sport { FROM . FROMPORT : TO . TOPORT } ip saddr set TO udp sport set TOPORT
//
// One look-up in a map, however many there are. The nft command cannot write
// two fields from one map, and lists only the first.
func redirectChains(all []Redirect, port uint16) []nft.Chain {
	var rules []nft.Rule
	for _, family := range redirectFamilies {
		redirects := nft.Lookup{
			Key: family.key, Data: family.key,
			Source: nft.Register32, Destination: nft.Register32 + family.registers(),
		}
		for _, r := range all {
			if r.From.Addr().Is4() == family.ipv4 {
				redirects.Elements = append(redirects.Elements, nftables.SetElement{
					Key: addressAndPort(r.From), Val: addressAndPort(r.To),
				})
			}
		}
		if len(redirects.Elements) > 0 {
			rules = append(rules, family.rule(port, redirects))
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return []nft.Chain{{Name: "in", Hook: nftables.ChainHookInput, Priority: redirectPriority, Rules: rules}}
}

// redirectFamily is where a family has its source address, and the checksum
// that has to change with it.
type redirectFamily struct {
	ipv4         bool
	protocol     byte // NFPROTO
	key          nftables.SetDatatype
	nextProtocol uint32
	source, size uint32
	checksum     uint32
}

var redirectFamilies = []redirectFamily{
	{
		ipv4: true, protocol: unix.NFPROTO_IPV4,
		key:          nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
		nextProtocol: 9, source: 12, size: 4, checksum: 10,
	},
	{
		protocol:     unix.NFPROTO_IPV6,
		key:          nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService),
		nextProtocol: 6, source: 8, size: 16,
		// IPv6's header has no checksum. The library cannot have the UDP
		// checksum mended without one of the header, so the flow label's
		// low half, which nobody looks at any more, takes that part. It has a
		// merit: the sum over the header stays, on which cards rely that
		// sum up the whole packet.
		checksum: 2,
	},
}

// registers is how many hold an address and a port.
func (f redirectFamily) registers() uint32 { return f.size/4 + 1 }

// rule leaves alone what it would break. Of a fragmented IPv6 datagram, whose
// header names another protocol, only the first part would be rewritten; IPv4's
// are whole here. And the kernel would give a datagram without a checksum,
// which WireGuard never sends, a wrong one.
func (f redirectFamily) rule(port uint16, redirects nft.Lookup) nft.Rule {
	header := func(offset, size, register uint32) *expr.Payload {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}
	}
	portRegister := f.size / 4
	return nft.Concat(
		nft.Rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: nft.Register}, nft.Equal([]byte{f.protocol})},
		nft.MatchUDP(nft.DestinationPort, port),
		nft.MatchWireGuard(false),
		nft.Rule{header(f.nextProtocol, 1, nft.Register), nft.Equal([]byte{unix.IPPROTO_UDP})},
		nft.Rule{
			nft.Load(nft.UDPChecksum, 2),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: nft.Register, Data: []byte{0, 0}},
		},
		nft.Rule{
			header(f.source, f.size, redirects.Source),
			&expr.Payload{
				DestRegister: redirects.Source + portRegister,
				Base:         expr.PayloadBaseTransportHeader, Offset: nft.SourcePort, Len: 2,
			},
			redirects,
			&expr.Payload{
				OperationType: expr.PayloadWrite, SourceRegister: redirects.Destination,
				Base: expr.PayloadBaseNetworkHeader, Offset: f.source, Len: f.size,
				CsumType: expr.CsumTypeInet, CsumOffset: f.checksum, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
			},
			nft.StorePort(redirects.Destination+portRegister, nft.SourcePort, nft.UDPChecksum),
		},
	)
}

// addressAndPort fills registers of four bytes.
func addressAndPort(a netip.AddrPort) []byte {
	return append(append(a.Addr().AsSlice(), nft.Port(a.Port())...), 0, 0)
}
