package netcheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/credant/credant/natpunch"
)

// MeasureConfig says what Measure asks.
type MeasureConfig struct {
	Servers []netip.AddrPort // STUN servers of both families
	// Mark is set on the sockets, so that they do not go through the tunnel; zero:
	// none.
	Mark int
	// Lifetime is the longest idle time that mappings are tested for; zero: not at
	// all.
	Lifetime time.Duration
	// Settled is called, at most once, when all is known but the lifetime; nil:
	// nobody is told. It must not block.
	Settled func(natpunch.NATStatus)
}

// Measure finds out how the NATs of both families treat this host. A family
// without a way out stays unknown. It takes some seconds, and with Lifetime as
// much longer; when ctx ends, what is known by then is returned beside its error.
func Measure(ctx context.Context, c MeasureConfig) (natpunch.NATStatus, error) {
	var own []netip.Addr
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				own = append(own, p.Addr().Unmap())
			}
		}
	}
	var families [2]*family
	var running, settling sync.WaitGroup
	for i := range families {
		ipv4 := i == 0
		servers := slices.DeleteFunc(slices.Clone(c.Servers), func(a netip.AddrPort) bool { return a.Addr().Unmap().Is4() != ipv4 })
		if len(servers) > 0 {
			if _, err := findWayOut(ctx, servers[0], c.Mark); err != nil {
				servers = nil
			}
		}
		families[i] = &family{
			probe: natpunch.NewProbe(natpunch.ProbeConfig{Servers: servers, Own: own, Lifetime: c.Lifetime}),
			ipv4:  ipv4, mark: c.Mark,
		}
	}
	status := func() natpunch.NATStatus {
		return natpunch.NATStatus{IPv4: families[0].result(), IPv6: families[1].result()}
	}
	for _, f := range families {
		settling.Add(1)
		running.Go(func() { f.run(ctx, sync.OnceFunc(settling.Done)) })
	}
	running.Go(func() {
		settling.Wait()
		if c.Settled != nil && ctx.Err() == nil {
			c.Settled(status())
		}
	})
	running.Wait()
	return status(), context.Cause(ctx)
}

// family runs the Probe of one address family.
type family struct {
	ipv4    bool
	mark    int
	probe   *natpunch.Probe
	ports   map[int]*net.UDPConn
	readers sync.WaitGroup
	arrived chan arrival

	mu   sync.Mutex
	last natpunch.FamilyStatus
}

type arrival struct {
	port int
	from netip.AddrPort
	data []byte
}

func (f *family) result() natpunch.FamilyStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// run blocks until the Probe is done; settled is called when all but the
// lifetime is known, or nothing more will be.
func (f *family) run(ctx context.Context, settled func()) {
	f.ports, f.arrived = make(map[int]*net.UDPConn), make(chan arrival)
	ctx, cancel := context.WithCancel(ctx)
	defer f.readers.Wait()
	defer func() {
		for _, conn := range f.ports {
			conn.Close()
		}
	}()
	defer cancel()
	defer settled()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		f.takeArrived()
		for f.act(ctx, f.probe.Advance(time.Now())) {
		}
		f.mu.Lock()
		f.last = f.probe.Result()
		f.mu.Unlock()
		if f.probe.Settled() {
			settled()
		}
		if f.probe.Done() {
			return
		}
		next, ok := f.probe.Next()
		wait := time.Hour
		if ok {
			wait = time.Until(next)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case a := <-f.arrived:
			f.probe.Receive(a.port, a.from, a.data)
		}
	}
}

// takeArrived takes what waits already: it comes before the time that is over.
func (f *family) takeArrived() {
	for {
		select {
		case a := <-f.arrived:
			f.probe.Receive(a.port, a.from, a.data)
		default:
			return
		}
	}
}

// act does what the Probe wants, and returns whether it should be asked again at
// once.
func (f *family) act(ctx context.Context, a natpunch.ProbeActions) bool {
	for _, i := range a.Open {
		conn, err := listenUDP(ctx, f.ipv4, f.mark)
		if err != nil {
			f.probe.Opened(i, 0)
			continue
		}
		f.ports[i] = conn
		f.readers.Go(func() { f.read(ctx, i, conn) })
		f.probe.Opened(i, uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	}
	for _, s := range a.Send {
		if conn := f.ports[s.Port]; conn != nil {
			_, _ = conn.WriteToUDPAddrPort(s.Data, s.To) // as good as lost: it is sent again
		}
	}
	for _, i := range a.Close {
		if conn := f.ports[i]; conn != nil {
			conn.Close()
			delete(f.ports, i)
		}
	}
	return len(a.Open) > 0
}

// read takes what comes to one port until it is closed.
func (f *family) read(ctx context.Context, port int, conn *net.UDPConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			continue // an ICMP error of a datagram before
		}
		a := arrival{port, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), slices.Clone(buf[:n])}
		select {
		case f.arrived <- a:
		case <-ctx.Done():
			return
		}
	}
}
