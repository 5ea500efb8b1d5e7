package natpunch

import (
	"net/netip"

	"github.com/pion/stun/v2"
)

// binding is what we read of a response to a binding request.
type binding struct {
	id     [stun.TransactionIDSize]byte
	failed bool // an error response
	mapped netip.AddrPort
	other  bool // OTHER-ADDRESS is there: the server offers RFC 5780
}

func bindingRequest(id [stun.TransactionIDSize]byte) []byte {
	m := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest, stun.Fingerprint)
	return m.Raw
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
	r := binding{id: m.TransactionID, other: m.Contains(stun.AttrOtherAddress)}
	switch m.Type.Class {
	case stun.ClassErrorResponse:
		r.failed = true
		return r, true
	case stun.ClassSuccessResponse:
		var ok bool
		r.mapped, ok = parseMapped(&m)
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
