package sticky

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// maxLocal bounds the addresses whose link is remembered. A caller chooses
// among a few uplinks.
const maxLocal = 32

// At calls send with the Source that has a datagram to remote leave from an
// address of this host, by the link that has it. The error is EADDRNOTAVAIL if
// the host has no such address. A link that changed since it was looked up is
// looked up again.
func (s *Sources) At(local, remote netip.Addr, send func(Source) error) error {
	local, remote = local.Unmap(), remote.Unmap()
	if local.Is4() != remote.Is4() {
		return unix.EAFNOSUPPORT
	}
	for again := false; ; again = true {
		link, fresh, err := s.linkOf(local)
		if err != nil {
			return err
		}
		source := pin(local, link)
		if local.Is6() && s.chosen(remote, link) == local {
			// Where the datagram says its source, IPv6 takes the link for a
			// wish, and the better route's link for an order.
			source = pin(netip.IPv6Unspecified(), link)
		}
		err = send(source)
		if err == nil || fresh || again || !Lost(err) {
			return err
		}
		s.mu.Lock()
		delete(s.local, local)
		s.mu.Unlock()
	}
}

// linkOf returns the link that has the address; fresh says that the kernel was
// asked just now.
func (s *Sources) linkOf(local netip.Addr) (link uint32, fresh bool, err error) {
	state := s.changes.Load()
	s.mu.Lock()
	if s.localOf != state || len(s.local) >= maxLocal {
		s.local, s.localOf = make(map[netip.Addr]uint32), state
	}
	link, ok := s.local[local]
	s.mu.Unlock()
	if ok {
		return link, false, nil
	}
	if link, err = s.findLink(local); err != nil {
		return 0, true, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.localOf == state {
		s.local[local] = link
	}
	return link, true, nil
}

func (s *Sources) findLink(local netip.Addr) (uint32, error) {
	if s.routes == nil {
		return 0, unix.EADDRNOTAVAIL
	}
	// struct ifaddrmsg: family, and more that is zero.
	request := make([]byte, unix.SizeofIfAddrmsg)
	if request[0] = unix.AF_INET6; local.Is4() {
		request[0] = unix.AF_INET
	}
	messages, err := s.routes.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETADDR, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfAddrmsg:])
		if err != nil {
			return 0, err
		}
		var found netip.Addr
		for attributes.Next() {
			// On a point-to-point link, IFA_ADDRESS is the other end's and
			// comes first.
			if t := attributes.Type(); t == unix.IFA_LOCAL || t == unix.IFA_ADDRESS && !found.IsValid() {
				found, _ = netip.AddrFromSlice(attributes.Bytes())
			}
		}
		if found == local {
			return binary.NativeEndian.Uint32(m.Data[4:]), nil
		}
	}
	return 0, unix.EADDRNOTAVAIL
}

// chosen returns the address that the kernel itself would choose for what leaves
// to remote by a link; invalid if it does not say.
func (s *Sources) chosen(remote netip.Addr, link uint32) netip.Addr {
	if link == loopback {
		return netip.Addr{}
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, remote.AsSlice())
	attributes.Uint32(unix.RTA_OIF, link)
	attributes.Uint32(unix.RTA_MARK, s.mark.Load())
	var chosen netip.Addr
	_ = s.ask(unix.AF_INET6, attributes, func(a *netlink.AttributeDecoder) {
		if a.Type() == unix.RTA_PREFSRC {
			chosen, _ = netip.AddrFromSlice(a.Bytes())
		}
	})
	return chosen
}

// pin makes the Source of an address and a link. Loopback's link would keep
// everything at home, so an address there leaves the link to the routes.
func pin(local netip.Addr, link uint32) (s Source) {
	if link == loopback {
		link = 0
	}
	level, kind, data := unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, local.AsSlice()
	if local.Is4() {
		// struct in_pktinfo: link, source, and what is not for sending.
		level, kind = unix.IPPROTO_IP, unix.IP_PKTINFO
		data = append(binary.NativeEndian.AppendUint32(nil, link), data...)
		data = append(data, 0, 0, 0, 0)
	} else {
		data = binary.NativeEndian.AppendUint32(data, link)
	}
	// struct cmsghdr: a length of a word's size, level, type.
	const word = unix.SizeofCmsghdr - 8
	if word == 8 {
		binary.NativeEndian.PutUint64(s.message[:], uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(s.message[:], uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(s.message[word:], uint32(level))
	binary.NativeEndian.PutUint32(s.message[word+4:], uint32(kind))
	copy(s.message[unix.CmsgLen(0):], data)
	s.size = uint8(unix.CmsgSpace(len(data)))
	return s
}

// loopback is the index of lo in every network namespace.
const loopback = 1
