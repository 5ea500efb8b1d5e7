package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pion/stun/v2"
)

// allocate makes an allocation at a TURN server without accounts, and binds a
// channel to a peer. It returns the relayed transport address and the first two
// bytes of channel data.
func allocate(c *net.UDPConn, server, peer netip.AddrPort) (relayed netip.AddrPort, channel []byte, err error) {
	const udp = 17
	response, err := transact(c, server, stun.MethodAllocate,
		stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{udp, 0, 0, 0}})
	if err != nil {
		return relayed, nil, err
	}
	var addr stun.XORMappedAddress
	if err := addr.GetFromAs(response, stun.AttrXORRelayedAddress); err != nil {
		return relayed, nil, fmt.Errorf("read relayed address: %w", err)
	}
	ip, _ := netip.AddrFromSlice(addr.IP)
	relayed = netip.AddrPortFrom(ip.Unmap(), uint16(addr.Port))
	channel = []byte{0x40, 0} // RFC 8656, Section 12
	_, err = transact(c, server, stun.MethodChannelBind,
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{0x40, 0, 0, 0}},
		peerAddress(peer))
	return relayed, channel, err
}

type peerAddress netip.AddrPort

// AddTo adds XOR-PEER-ADDRESS.
func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// transact sends a request until its response comes.
func transact(c *net.UDPConn, server netip.AddrPort, method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	setters := []stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}
	for _, a := range attributes {
		if raw, ok := a.(stun.RawAttribute); ok {
			a = rawAttribute(raw)
		}
		setters = append(setters, a)
	}
	request, err := stun.Build(setters...)
	if err != nil {
		return nil, fmt.Errorf("build %v: %w", method, err)
	}
	defer c.SetReadDeadline(time.Time{})
	b := make([]byte, 1500)
	for range 100 { // a server that has just been started takes a moment
		if _, err := c.WriteToUDPAddrPort(request.Raw, server); err != nil {
			return nil, err
		}
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return nil, err
		}
		n, _, err := c.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return nil, err
		}
		response := &stun.Message{Raw: b[:n]}
		if response.Decode() != nil || response.TransactionID != request.TransactionID {
			continue
		}
		if response.Type.Class != stun.ClassSuccessResponse {
			var code stun.ErrorCodeAttribute
			_ = code.GetFrom(response)
			return nil, fmt.Errorf("%v: %v", method, code)
		}
		return response, nil
	}
	return nil, fmt.Errorf("%v: no answer from %v", method, server)
}

type rawAttribute stun.RawAttribute

// AddTo adds it as it is.
func (a rawAttribute) AddTo(m *stun.Message) error {
	m.Add(a.Type, a.Value)
	return nil
}

// datagram puts a channel data header, if any, before the payload.
func datagram(channel []byte, payload []byte) []byte {
	if channel == nil {
		return payload
	}
	b := append([]byte(nil), channel...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}
