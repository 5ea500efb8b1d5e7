package pcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Ports and groups of RFC 6887, Section 19, and RFC 6886, Section 3.2.1.
const (
	ServerPort = 5351
	ClientPort = 5350
)

// Announcements go to all hosts of the link.
var (
	AllHosts4 = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	AllHosts6 = netip.AddrFrom16([16]byte{0xff, 0x02, 15: 1})
)

const (
	version = 2
	udp     = 17

	opAnnounce = 0
	opMap      = 1
	response   = 0x80

	headerLen = 24
	mapLen    = headerLen + 36
	// MaxLen is the most that a message may have (RFC 6887, Section 7).
	MaxLen = 1100
)

// A Nonce says whose a mapping is: the same one renews and deletes it (RFC 6887, Section 11.1).
type Nonce [12]byte

// A Map asks for a mapping of one UDP port, renews it, or with no lifetime deletes it.
type Map struct {
	Client   netip.Addr // the host's address, as the gateway sees it
	Nonce    Nonce
	Internal uint16
	External netip.AddrPort // suggested; a zero port or address leaves it to the gateway
	Lifetime time.Duration
}

// Append appends the request.
func (m Map) Append(b []byte) []byte {
	b = appendHeader(b, opMap, m.Lifetime, m.Client)
	b = append(b, m.Nonce[:]...)
	b = append(b, udp, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Internal)
	b = binary.BigEndian.AppendUint16(b, m.External.Port())
	external := m.External.Addr()
	if !external.IsValid() {
		// "No address" has a form in each family (RFC 6887, Section 5).
		external = netip.IPv6Unspecified()
		if m.Client.Is4() {
			external = netip.IPv4Unspecified()
		}
	}
	a := external.As16()
	return append(b, a[:]...)
}

// AppendAnnounce appends the request that asks whether a gateway speaks PCP, and nothing else (RFC 6887, Section 14.1).
func AppendAnnounce(b []byte, client netip.Addr) []byte {
	return appendHeader(b, opAnnounce, 0, client)
}

func appendHeader(b []byte, op byte, lifetime time.Duration, client netip.Addr) []byte {
	b = append(b, version, op, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	a := client.As16()
	return append(b, a[:]...)
}

// A Response is what a gateway answers, or announces.
type Response struct {
	Announce bool // to an announce request, or to all; else to a Map
	Result   Result
	Lifetime time.Duration // of the mapping; of the error where Result is one
	Epoch    uint32        // seconds since the gateway lost its mappings; zero in VersionOnly

	// VersionOnly says that the gateway answered in the words of NAT-PMP: it does not know PCP.
	VersionOnly bool

	// Of a Map's response, and some gateways leave them zero where Result is an error.
	Nonce    Nonce
	Internal uint16
	External netip.AddrPort // unmapped
}

var errNotPCP = errors.New("not a PCP response")

// ParseResponse reads a datagram from a gateway's port.
func ParseResponse(b []byte) (Response, error) {
	if len(b) < 4 || len(b) > MaxLen || b[1]&response == 0 {
		return Response{}, errNotPCP
	}
	if b[0] == 0 {
		// RFC 6886, Section 3.5. Gateways differ in what they say beyond the result.
		if binary.BigEndian.Uint16(b[2:]) != uint16(UnsupportedVersion) {
			return Response{}, errNotPCP
		}
		return Response{Result: UnsupportedVersion, VersionOnly: true}, nil
	}
	if b[0] != version && Result(b[3]) != UnsupportedVersion {
		return Response{}, fmt.Errorf("version %d: %w", b[0], errNotPCP)
	}
	if len(b) < headerLen || len(b)%4 != 0 {
		return Response{}, errNotPCP
	}
	r := Response{
		Announce: b[1]&^response == opAnnounce,
		Result:   Result(b[3]),
		Lifetime: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second,
		Epoch:    binary.BigEndian.Uint32(b[8:]),
	}
	if r.Announce {
		return r, nil
	}
	if b[1]&^response != opMap {
		return Response{}, fmt.Errorf("opcode %d: %w", b[1]&^response, errNotPCP)
	}
	if len(b) < mapLen {
		// An error that repeats nothing of the question cannot be told from a stranger's, but for its version.
		if r.Result == UnsupportedVersion {
			return r, nil
		}
		return Response{}, errNotPCP
	}
	if b[36] != udp && r.Result == Success {
		return Response{}, fmt.Errorf("protocol %d: %w", b[36], errNotPCP)
	}
	copy(r.Nonce[:], b[headerLen:])
	r.Internal = binary.BigEndian.Uint16(b[40:])
	r.External = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	return r, nil
}

// An Announcement is what a gateway tells all hosts when it came up or got another address.
type Announcement struct {
	NATPMP   bool // else PCP
	Epoch    uint32
	External netip.Addr // NAT-PMP's; zero where the gateway has none
}

// ParseAnnouncement reads a datagram to port 5350: RFC 6887, Section 14.1.3, or RFC 6886, Section 3.2.1.
func ParseAnnouncement(b []byte) (Announcement, error) {
	if len(b) == 12 && b[0] == 0 && b[1] == response {
		a := Announcement{NATPMP: true, Epoch: binary.BigEndian.Uint32(b[4:])}
		if ip := netip.AddrFrom4([4]byte(b[8:12])); binary.BigEndian.Uint16(b[2:]) == 0 && !ip.IsUnspecified() {
			a.External = ip
		}
		return a, nil
	}
	r, err := ParseResponse(b)
	switch {
	case err != nil:
		return Announcement{}, err
	case !r.Announce || r.VersionOnly || b[0] != version || r.Result != Success:
		return Announcement{}, errNotPCP
	}
	return Announcement{Epoch: r.Epoch}, nil
}
