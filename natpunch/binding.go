package natpunch

import (
	"encoding/binary"
	"io"
	"net/netip"

	"github.com/pion/stun/v2"
)

// stunID is a transaction id. Nobody who does not see the request can guess it.
type stunID = [stun.TransactionIDSize]byte

// binding is what we read of a response to a binding request, or of a request of
// our own that a NAT turned back.
type binding struct {
	id       stunID
	request  bool
	failed   bool // an error response
	mapped   netip.AddrPort
	discover bool           // OTHER-ADDRESS is there: the server offers RFC 5780
	other    netip.AddrPort // the address in it, when it is one that can be asked
}

// question is what a binding request asks for besides (RFC 5780, Section 7).
type question struct {
	changeIP, changePort bool   // whence the answer is to come
	responsePort         uint16 // where it is to go to; zero: whence the request came
}

const attrResponsePort stun.AttrType = 0x0027

// AddTo adds the attributes to m.
func (q question) AddTo(m *stun.Message) error {
	if q.changeIP || q.changePort {
		var flags byte
		if q.changeIP {
			flags |= 4
		}
		if q.changePort {
			flags |= 2
		}
		m.Add(stun.AttrChangeRequest, []byte{0, 0, 0, flags})
	}
	if q.responsePort != 0 {
		m.Add(attrResponsePort, binary.BigEndian.AppendUint16(nil, q.responsePort))
	}
	return nil
}

func bindingRequest(id stunID, q question) []byte {
	m := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest, q, stun.Fingerprint)
	return m.Raw
}

func newSTUNID(random io.Reader) (id stunID) {
	if _, err := io.ReadFull(random, id[:]); err != nil {
		panic("natpunch: read random bytes: " + err.Error()) // crypto/rand never fails
	}
	return id
}

// askable is the other address of a server, as far as it is one that this server
// could have: what it makes us ask is nobody else's business.
func askable(server, other netip.AddrPort) bool {
	return other.IsValid() && other.Addr().Is4() == server.Addr().Is4() && other.Addr() != server.Addr() &&
		other.Port() != server.Port() && (other.Port() >= 1024 || server.Port() < 1024) &&
		other.Addr().IsPrivate() == server.Addr().IsPrivate()
}

// parseBinding reads a binding response. A FINGERPRINT must be right where there
// is one.
func parseBinding(b []byte) (binding, bool) {
	m := stun.Message{Raw: b}
	if err := m.Decode(); err != nil || int(m.Length)+20 != len(b) || m.Type.Method != stun.MethodBinding {
		return binding{}, false
	}
	if m.Contains(stun.AttrFingerprint) && !fingerprintHolds(&m) {
		return binding{}, false
	}
	r := binding{id: m.TransactionID, discover: m.Contains(stun.AttrOtherAddress)}
	switch m.Type.Class {
	case stun.ClassRequest:
		r.request = true
		return r, true
	case stun.ClassErrorResponse:
		r.failed = true
		return r, true
	case stun.ClassSuccessResponse:
		var ok bool
		r.mapped, ok = parseMapped(&m)
		r.other = parseOther(&m)
		return r, ok
	default:
		return binding{}, false
	}
}

// fingerprintHolds: the library slices without looking at the length.
func fingerprintHolds(m *stun.Message) bool {
	v, err := m.Get(stun.AttrFingerprint)
	return err == nil && len(v) == 4 && stun.Fingerprint.Check(m) == nil
}

// parseMapped reads XOR-MAPPED-ADDRESS. Its length is looked at first: of an
// attribute that is too short the library reads beyond the end.
func parseMapped(m *stun.Message) (netip.AddrPort, bool) {
	v, err := m.Get(stun.AttrXORMappedAddress)
	if err != nil || len(v) != 8 && len(v) != 20 || (v[1] == 1) != (len(v) == 8) {
		return netip.AddrPort{}, false
	}
	var x stun.XORMappedAddress
	if err := x.GetFrom(m); err != nil {
		return netip.AddrPort{}, false
	}
	ip, ok := netip.AddrFromSlice(x.IP)
	if !ok || x.Port == 0 || ip.Is4() != (len(v) == 8) || ip.Is4In6() || !ip.IsGlobalUnicast() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(x.Port)), true
}

// parseOther reads OTHER-ADDRESS, which is not masked; zero when there is none
// of use.
func parseOther(m *stun.Message) netip.AddrPort {
	v, err := m.Get(stun.AttrOtherAddress)
	if err != nil || len(v) != 8 && len(v) != 20 || (v[1] == 1) != (len(v) == 8) {
		return netip.AddrPort{}
	}
	ip, ok := netip.AddrFromSlice(v[4:])
	port := binary.BigEndian.Uint16(v[2:])
	if !ok || port == 0 || ip.Is4In6() || !ip.IsGlobalUnicast() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, port)
}
