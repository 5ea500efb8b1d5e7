package sticky

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// limit bounds the remotes remembered, in 250 kB. Answers follow at once,
	// so that even a flood of forged addresses pushes out only what has had
	// its answer.
	limit = 1024
	// lifetime is for how long a source can be in the way that is of no use any
	// more and that the host has not lost. Answers leave within seconds.
	lifetime = 2 * time.Minute
)

// Sources has the Source of each remote that was heard of lately.
type Sources struct {
	routes  *netlink.Conn // nil: routes are not looked up
	mark    atomic.Uint32
	port    atomic.Uint32
	changes atomic.Uint64 // how often the host's addresses, links or routes did, and one

	mu sync.Mutex
	// A full younger half takes the older's place, so that nothing is ever
	// allocated or searched.
	young, old map[netip.AddrPort]entry
	local      map[netip.Addr]uint32 // the link of each address of this host that was asked for
	localOf    uint64                // the state of the host that local is right for
}

type entry struct {
	source Source
	heard  time.Time
}

// Open returns empty Sources that know the routes of the caller's network
// namespace.
func Open() (*Sources, error) {
	routes, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open routes: %w", err)
	}
	s := newSources()
	s.routes = routes
	return s, nil
}

func newSources() *Sources {
	s := &Sources{
		young: make(map[netip.AddrPort]entry, limit/2),
		old:   make(map[netip.AddrPort]entry, limit/2),
	}
	s.changes.Store(1)
	return s
}

// Close makes every source over IPv4 one that is not to be used.
func (s *Sources) Close() error {
	if s.routes == nil {
		return nil
	}
	return s.routes.Close()
}

// SetMark tells the firewall mark of what is sent, which routes may depend on.
func (s *Sources) SetMark(mark uint32) {
	if s.mark.Swap(mark) != mark {
		s.HostChanged()
	}
}

// SetPort tells the UDP port of what is sent, which routes may depend on, too.
func (s *Sources) SetPort(port uint16) {
	if s.port.Swap(uint32(port)) != uint32(port) {
		s.HostChanged()
	}
}

// HostChanged has every source confirmed anew before it is used.
func (s *Sources) HostChanged() { s.changes.Add(1) }

// Heard remembers where remote, its IPv4 unmapped, reached this host. The zero
// Source is not remembered.
func (s *Sources) Heard(now time.Time, remote netip.AddrPort, source Source) {
	if source.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.young[remote]; ok && e.source.message == source.message {
		source.checked = e.source.checked
	} else if !ok && len(s.young) >= limit/2 {
		s.young, s.old = s.old, s.young
		clear(s.young)
	}
	s.young[remote] = entry{source: source, heard: now}
}

// For returns the Source of what is sent to remote: the zero one unless it was
// heard of lately at an address that the way to it leaves from.
func (s *Sources) For(now time.Time, remote netip.AddrPort) Source {
	source := s.heardAt(now, remote)
	if source.IsZero() {
		return Source{}
	}
	confirmed := s.Confirm(source, remote.Addr())
	if confirmed == source {
		return source
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, half := range []map[netip.AddrPort]entry{s.young, s.old} {
		e, there := half[remote]
		if !there || e.source != source {
			continue // heard of again since
		}
		if e.source = confirmed; confirmed.IsZero() {
			delete(half, remote)
		} else {
			half[remote] = e
		}
	}
	return confirmed
}

func (s *Sources) heardAt(now time.Time, remote netip.AddrPort) Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.young[remote]
	if !ok {
		e, ok = s.old[remote]
	}
	if !ok || now.Sub(e.heard) > lifetime {
		return Source{}
	}
	return e.source
}

// Forget forgets a source that was lost.
func (s *Sources) Forget(remote netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, remote)
	delete(s.old, remote)
}

// Trust makes a source one that Confirm asks about only after the host has
// changed.
func (s *Sources) Trust(source Source) Source {
	source.checked = s.changes.Load()
	return source
}

// Confirm returns the source, or the zero Source if the way to remote leaves by
// another link. The kernel is asked once after each change of the host: what
// Confirm returned is confirmed until then.
func (s *Sources) Confirm(source Source, remote netip.Addr) Source {
	state := s.changes.Load()
	if source.checked == state {
		return source
	}
	if s.routes != nil && remote.Is4() {
		if link, err := s.route(remote, source.Addr()); err != nil || link != source.link() {
			return Source{}
		}
	}
	source.checked = state
	return source
}

// route returns the link that datagrams to remote from local leave by.
func (s *Sources) route(remote, local netip.Addr) (link uint32, err error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, remote.AsSlice())
	attributes.Bytes(unix.RTA_SRC, local.AsSlice())
	attributes.Uint32(unix.RTA_MARK, s.mark.Load())
	attributes.Uint8(unix.RTA_IP_PROTO, unix.IPPROTO_UDP)
	attributes.Bytes(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, uint16(s.port.Load())))
	err = s.ask(unix.AF_INET, attributes, func(a *netlink.AttributeDecoder) {
		if a.Type() == unix.RTA_OIF {
			link = a.Uint32()
		}
	})
	if err == nil && link == 0 {
		err = unix.ENETUNREACH
	}
	return link, err
}

// ask has the kernel look for a route and passes on what it says of it.
func (s *Sources) ask(family uint8, attributes *netlink.AttributeEncoder, each func(*netlink.AttributeDecoder)) error {
	encoded, err := attributes.Encode()
	if err != nil {
		return err
	}
	// struct rtmsg: family, length of destination and of source, and more that
	// is zero.
	message := append(make([]byte, unix.SizeofRtMsg), encoded...)
	message[0], message[1] = family, 128
	if family == unix.AF_INET {
		message[1], message[2] = 32, 32
	}
	answers, err := s.routes.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   message,
	})
	if err != nil {
		return err
	}
	for _, a := range answers {
		if len(a.Data) < unix.SizeofRtMsg {
			continue
		}
		found, err := netlink.NewAttributeDecoder(a.Data[unix.SizeofRtMsg:])
		if err != nil {
			return err
		}
		for found.Next() {
			each(found)
		}
	}
	return nil
}
