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
	err = ErrClosed
	if !closed {
		// Without the mutex, so that other peers' endpoints need not wait.
		err = d.backend.setRedirects(redirects)
	}
	if len(redirects) == 0 && errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// redirectPriority comes after the side port's table: what is not WireGuard's
// has left for another port by then. In the input hook a source may be one
// that strict reverse path filtering would have dropped.
const redirectPriority = 301

// kernelRedirects are an nftables table, which is there while there are any.
type kernelRedirects struct {
	table *nft.Table
	local func(remote netip.AddrPort) netip.Addr // where this host is for remote, if that is known

	mu     sync.Mutex
	port   uint16 // WireGuard's
	set    []Redirect
	closed bool
}

func openKernelRedirects(table string, port uint16, local func(netip.AddrPort) netip.Addr, log *slog.Logger) (*kernelRedirects, error) {
	t, err := nft.Open(table, log)
	if err != nil {
		return nil, err
	}
	return &kernelRedirects{table: t, port: port, local: local}, nil
}

func (k *kernelRedirects) run(ctx context.Context) error { return k.table.Run(ctx) }

func (k *kernelRedirects) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return k.table.Close()
}

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
	if k.closed {
		return ErrClosed
	}
	locals := make([]netip.Addr, len(all))
	for i, r := range all {
		if local := k.local(r.To); local.Is4() == r.To.Addr().Is4() {
			locals[i] = local
		}
	}
	if err := k.table.Set(redirectChains(all, locals, k.port)); err != nil {
		k.set = nil // what is there is not known: the next call tries again
		return err
	}
	k.set = all
	return nil
}

// redirectChains is, for each family:
//
//	udp dport P @th,64,32 {1..4}
//	ip saddr . udp sport { FROM . FROMPORT : TO . TOPORT . LOCAL }
//	ip saddr set TO  udp sport set TOPORT  ip daddr set LOCAL
//
// One look-up in a map, however many there are. The nft command cannot write
// several fields from one map, and lists only the first. LOCAL is for
// WireGuard to answer from: it takes the address that it was asked at, and over
// IPv6 keeps to the old path's even on another link. What has no local address
// that is known, which then has no route either, keeps its destination.
func redirectChains(all []Redirect, locals []netip.Addr, port uint16) []nft.Chain {
	var rules []nft.Rule
	for _, family := range redirectFamilies {
		for _, withLocal := range []bool{true, false} {
			var elements []nftables.SetElement
			for i, r := range all {
				if r.From.Addr().Is4() != family.ipv4 || locals[i].IsValid() != withLocal {
					continue
				}
				e := nftables.SetElement{Key: addressAndPort(r.From), Val: addressAndPort(r.To)}
				if withLocal {
					e.Val = append(e.Val, locals[i].AsSlice()...)
				}
				elements = append(elements, e)
			}
			if len(elements) > 0 {
				rules = append(rules, family.rule(port, elements, withLocal))
			}
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return []nft.Chain{{Name: "in", Hook: nftables.ChainHookInput, Priority: redirectPriority, Rules: rules}}
}

// redirectFamily is where a family has its addresses, and the checksum that has
// to change with them.
type redirectFamily struct {
	ipv4                 bool
	protocol             byte // NFPROTO
	address              nftables.SetDatatype
	size                 uint32 // of an address
	source, destination  uint32
	nextProtocol, header uint32 // the latter is the checksum
}

var redirectFamilies = []redirectFamily{
	{
		ipv4: true, protocol: unix.NFPROTO_IPV4, address: nftables.TypeIPAddr, size: 4,
		source: 12, destination: 16, nextProtocol: 9, header: 10,
	},
	{
		protocol: unix.NFPROTO_IPV6, address: nftables.TypeIP6Addr, size: 16,
		source: 8, destination: 24, nextProtocol: 6,
		// IPv6's header has no checksum. The library cannot have the UDP
		// checksum mended without one of the header, so the flow label's
		// low half, which nobody looks at any more, takes that part. It has a
		// merit: the sum over the header stays, on which cards rely that
		// sum up the whole packet.
		header: 2,
	},
}

// rule leaves alone what it would break. Of a fragmented IPv6 datagram, whose
// header names another protocol, only the first part would be rewritten; IPv4's
// are whole here. And the kernel would give a datagram without a checksum,
// which WireGuard never sends, a wrong one.
func (f redirectFamily) rule(port uint16, elements []nftables.SetElement, withLocal bool) nft.Rule {
	load := func(offset, size, register uint32) *expr.Payload {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}
	}
	store := func(offset, register uint32) *expr.Payload {
		return &expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: register,
			Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size,
			CsumType: expr.CsumTypeInet, CsumOffset: f.header, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
		}
	}
	// Registers are of four bytes, and a port fills one.
	key := uint32(nft.Register32)
	keyPort := key + f.size/4
	to := keyPort + 1
	toPort := to + f.size/4
	local := toPort + 1
	lookup := nft.Lookup{
		Source: key, Destination: to, Elements: elements,
		Key:  nftables.MustConcatSetType(f.address, nftables.TypeInetService),
		Data: nftables.MustConcatSetType(f.address, nftables.TypeInetService),
	}
	rewrite := nft.Rule{store(f.source, to), nft.StorePort(toPort, nft.SourcePort, nft.UDPChecksum)}
	if withLocal {
		lookup.Data = nftables.MustConcatSetType(f.address, nftables.TypeInetService, f.address)
		rewrite = append(rewrite, store(f.destination, local))
	}
	return nft.Concat(
		nft.Rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: nft.Register}, nft.Equal([]byte{f.protocol})},
		nft.MatchUDP(nft.DestinationPort, port),
		nft.MatchWireGuard(false),
		nft.Rule{load(f.nextProtocol, 1, nft.Register), nft.Equal([]byte{unix.IPPROTO_UDP})},
		nft.Rule{
			nft.Load(nft.UDPChecksum, 2),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: nft.Register, Data: []byte{0, 0}},
		},
		nft.Rule{
			load(f.source, f.size, key),
			&expr.Payload{DestRegister: keyPort, Base: expr.PayloadBaseTransportHeader, Offset: nft.SourcePort, Len: 2},
			lookup,
		},
		rewrite,
	)
}

// addressAndPort fills registers of four bytes.
func addressAndPort(a netip.AddrPort) []byte {
	return append(append(a.Addr().AsSlice(), nft.Port(a.Port())...), 0, 0)
}
