package stunserver

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	headerSize = 20
	cookie     = 0x2112a442 // RFC 8489, Section 5
	// maxRequest is the longest datagram looked at: one with a PADDING of a whole
	// MTU, that is meant to be fragmented.
	maxRequest = 1600

	bindingRequest  = 0x0001
	bindingResponse = 0x0101
	bindingError    = 0x0111

	attrMappedAddress          = 0x0001
	attrChangeRequest          = 0x0003
	attrUsername               = 0x0006
	attrMessageIntegrity       = 0x0008
	attrErrorCode              = 0x0009
	attrUnknownAttributes      = 0x000a
	attrRealm                  = 0x0014
	attrNonce                  = 0x0015
	attrMessageIntegritySHA256 = 0x001c
	attrPasswordAlgorithm      = 0x001d
	attrUserhash               = 0x001e
	attrXORMappedAddress       = 0x0020
	attrPadding                = 0x0026
	attrResponsePort           = 0x0027
	attrFingerprint            = 0x8028
	attrResponseOrigin         = 0x802b
	attrOtherAddress           = 0x802c

	comprehensionOptional = 0x8000
	fingerprintMask       = 0x5354554e
	// maxUnknown bounds the list in a refusal.
	maxUnknown = 16
)

// request is what a Binding request asks for.
type request struct {
	transaction          [12]byte
	changeIP, changePort bool
	responsePort         uint16 // 0: none
	padded               bool
	padding              int
	fingerprint          bool
	unknown              []uint16
}

// discovers lists the attributes of RFC 5780 that it cannot be answered without.
func (r *request) discovers() (attributes []uint16) {
	if r.changeIP || r.changePort {
		attributes = append(attributes, attrChangeRequest)
	}
	if r.responsePort != 0 {
		attributes = append(attributes, attrResponsePort)
	}
	if r.padded {
		attributes = append(attributes, attrPadding)
	}
	return attributes
}

// parseRequest returns why b is no Binding request, or "".
func parseRequest(b []byte) (r request, drop string) {
	if len(b) < headerSize || len(b) > maxRequest || len(b)%4 != 0 ||
		binary.BigEndian.Uint32(b[4:]) != cookie ||
		int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerSize {
		return r, DropMalformed
	}
	if binary.BigEndian.Uint16(b) != bindingRequest {
		return r, DropNotBinding
	}
	r.transaction = [12]byte(b[8:headerSize])
	signed := false // what follows MESSAGE-INTEGRITY is ignored, save for FINGERPRINT
	for rest := b[headerSize:]; len(rest) > 0; {
		if len(rest) < 4 {
			return r, DropMalformed
		}
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := 4 + (size+3)&^3
		if padded > len(rest) {
			return r, DropMalformed
		}
		value := rest[4 : 4+size]
		rest = rest[padded:]
		switch {
		case kind == attrFingerprint:
			at := len(b) - len(rest) - padded
			if size != 4 || len(rest) != 0 || binary.BigEndian.Uint32(value) != fingerprint(b[:at]) {
				return r, DropFingerprint
			}
			r.fingerprint = true
		case kind == attrMessageIntegrity, kind == attrMessageIntegritySHA256:
			signed = true
		case signed:
		case kind == attrChangeRequest:
			if size != 4 {
				return r, DropMalformed
			}
			r.changeIP, r.changePort = value[3]&4 != 0, value[3]&2 != 0
		case kind == attrResponsePort:
			if size < 2 || size > 4 || binary.BigEndian.Uint16(value) == 0 { // with its own padding, or without
				return r, DropMalformed
			}
			r.responsePort = binary.BigEndian.Uint16(value)
		case kind == attrPadding:
			r.padded, r.padding = true, size
		case kind < comprehensionOptional && !understood(kind) && len(r.unknown) < maxUnknown:
			r.unknown = append(r.unknown, kind)
		}
	}
	return r, ""
}

// understood says which attributes a server without accounts may pass over: they
// belong to credentials, which nobody needs here.
func understood(kind uint16) bool {
	switch kind {
	case attrUsername, attrRealm, attrNonce, attrPasswordAlgorithm, attrUserhash:
		return true
	}
	return false
}

func fingerprint(b []byte) uint32 { return crc32.ChecksumIEEE(b) ^ fingerprintMask }

// appendHeader begins a message; finish sets its length.
func appendHeader(b []byte, kind uint16, transaction [12]byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, cookie)
	return append(b, transaction[:]...)
}

// finish sets the length of the message b, after FINGERPRINT where it is wanted.
func finish(b []byte, withFingerprint bool) []byte {
	size := len(b) - headerSize
	if withFingerprint {
		size += 8
	}
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	if withFingerprint {
		sum := fingerprint(b)
		b = appendAttr(b, attrFingerprint, 4)
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	return b
}

func appendAttr(b []byte, kind uint16, size int) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint16(b, uint16(size))
}

// appendAddress appends an address attribute (RFC 8489, Section 14.1), XORed with
// mask, which is cookie and transaction id (Section 14.2), or zero.
func appendAddress(b []byte, kind uint16, addr netip.AddrPort, mask [16]byte) []byte {
	family, ip := byte(1), addr.Addr().AsSlice()
	if addr.Addr().Is6() {
		family = 2
	}
	b = appendAttr(b, kind, 4+len(ip))
	b = append(b, 0, family)
	b = binary.BigEndian.AppendUint16(b, addr.Port()^binary.BigEndian.Uint16(mask[:]))
	for i := range ip {
		ip[i] ^= mask[i]
	}
	return append(b, ip...)
}

// appendError appends ERROR-CODE (RFC 8489, Section 14.8).
func appendError(b []byte, code int, reason string) []byte {
	b = appendAttr(b, attrErrorCode, 4+len(reason))
	b = append(b, 0, 0, byte(code/100), byte(code%100))
	return pad(append(b, reason...))
}

// appendUnknown appends UNKNOWN-ATTRIBUTES.
func appendUnknown(b []byte, unknown []uint16) []byte {
	b = appendAttr(b, attrUnknownAttributes, 2*len(unknown))
	for _, kind := range unknown {
		b = binary.BigEndian.AppendUint16(b, kind)
	}
	return pad(b)
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
