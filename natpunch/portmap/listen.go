package portmap

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// listen hears what the gateway announces to all hosts until ctx ends. Without a socket for it a lost mapping is found
// at the next renewal.
func (w *worker) listen(ctx context.Context) {
	network, group := "udp4", pcp.AllHosts4
	if w.gateway.Addr.Is6() {
		network, group = "udp6", pcp.AllHosts6
	}
	iface, err := net.InterfaceByName(w.gateway.Iface)
	if err != nil {
		return
	}
	// It binds to the group, so that nothing but multicast wakes this up, and shares the port with other programs.
	conn, err := net.ListenMulticastUDP(network, iface, &net.UDPAddr{IP: group.AsSlice(), Port: pcp.ClientPort, Zone: zone(group, iface)})
	if err != nil {
		w.mapper.log.Debug("listen for announcements", "iface", w.gateway.Iface, "err", err)
		return
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	buf := make([]byte, pcp.MaxLen+1)
	for ctx.Err() == nil {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.mapper.log.Debug("hear announcements", "iface", w.gateway.Iface, "err", err)
			return
		}
		if w.announced(time.Now(), from, buf[:n]) {
			w.lookAnew()
		}
	}
}

func zone(a netip.Addr, iface *net.Interface) string {
	if a.Is6() {
		return iface.Name
	}
	return ""
}

// announced takes in a datagram to all hosts and tells whether it is the gateway's and says that mappings are lost. The
// same announcement comes up to ten times.
func (w *worker) announced(now time.Time, from netip.AddrPort, b []byte) bool {
	if from.Port() != pcp.ServerPort || !w.isGateway(from.Addr().Unmap().WithZone("")) {
		return false
	}
	a, err := pcp.ParseAnnouncement(b)
	if err != nil {
		return false
	}
	w.epochs.Lock()
	defer w.epochs.Unlock()
	if !a.NATPMP {
		return !w.epochs.pcp.Observe(now, a.Epoch)
	}
	kept := w.epochs.natpmp.ObserveNATPMP(now, a.Epoch)
	moved := w.epochs.external.IsValid() && a.External != w.epochs.external
	if a.External.IsValid() {
		w.epochs.external = a.External
	}
	return !kept || moved
}

// isGateway tells whether an announcement is from the gateway. Over IPv6 it comes from a link-local address that the
// default route need not name; one too many costs a renewal.
func (w *worker) isGateway(a netip.Addr) bool {
	return a == w.gateway.Addr || a.Is6() && a.IsLinkLocalUnicast()
}
