package relayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/natpunch/demux"
	"github.com/credant/credant/relay/stunserver"
	"github.com/credant/credant/relay/wire"
)

// fronts are the sockets besides the relay ports: of each address one on the
// front port, and one on the second port of STUN.
type fronts struct {
	config Config
	stun   *stunserver.Server
	inbox  *inbox
	drops  *drops
	fresh  chan front // opened, and not read yet

	mu    sync.RWMutex
	conns map[netip.AddrPort]*net.UDPConn
	dht   map[netip.AddrPort]*dhtConn // by own address and port

	stunAnswers atomic.Uint64
}

// front is one of the sockets.
type front struct {
	at   netip.AddrPort
	conn *net.UDPConn
}

// frontBuffer is what the kernel may keep for a front port: a burst of a
// thousand frames while the reader waits for a processor.
const frontBuffer = 2 << 20

func openFronts(ctx context.Context, c Config, locals []netip.Addr, in *inbox, d *drops) (*fronts, error) {
	f := &fronts{
		config: c,
		stun:   stunserver.New(stunserver.Config{Addrs: locals, Ports: c.fronts()}),
		inbox:  in, drops: d,
		fresh: make(chan front, 4*perFamily),
		conns: make(map[netip.AddrPort]*net.UDPConn),
		dht:   make(map[netip.AddrPort]*dhtConn),
	}
	for _, a := range locals {
		if err := f.open(ctx, a); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// open serves on one more address.
func (f *fronts) open(ctx context.Context, a netip.Addr) error {
	var opened []front
	for _, port := range f.config.fronts() {
		at := netip.AddrPortFrom(a, port)
		conn, err := listen(ctx, at)
		if err != nil {
			for _, o := range opened {
				_ = o.conn.Close()
			}
			return explainListen(f.config, at, err)
		}
		opened = append(opened, front{at, conn})
	}
	for _, o := range opened {
		f.mu.Lock()
		f.conns[o.at] = o.conn
		f.mu.Unlock()
		select {
		case f.fresh <- o:
		case <-ctx.Done(): // nobody reads any more
		}
	}
	return nil
}

// abandon serves on an address no longer.
func (f *fronts) abandon(a netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, conn := range f.conns {
		if at.Addr() == a {
			delete(f.conns, at)
			delete(f.dht, at)
			_ = conn.Close()
		}
	}
}

func (f *fronts) conn(at netip.AddrPort) *net.UDPConn {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.conns[at]
}

func listen(ctx context.Context, at netip.AddrPort) (*net.UDPConn, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	_ = udp.SetReadBuffer(frontBuffer) // as much as the host allows
	return udp, nil
}

// explainListen says what to do about a front port that cannot be had.
func explainListen(c Config, at netip.AddrPort, err error) error {
	flag := "--port"
	if at.Port() == c.STUNPort {
		flag = "--stun-port"
	}
	// The rest of a net.OpError says again what was tried.
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	advice := ""
	switch errno {
	case syscall.EADDRINUSE:
		advice = fmt.Sprintf(`: end the program that has it ("sudo ss -lunp 'sport = :%d'" names it; STUN and TURN servers use this port), or choose another with %s`, at.Port(), flag)
	case syscall.EADDRNOTAVAIL:
		advice = `: this host has no such address ("ip address" lists them): correct --listen, or leave it out`
	case syscall.EACCES:
		advice = fmt.Sprintf(": ports under 1024 are kept for root: choose another with %s", flag)
	}
	return fmt.Errorf("listen on UDP %v: %w%s", at, err, advice)
}

// dhtConn makes the front port of an address the socket of a DHT server, which
// speaks from that address alone. It is nil where the address is not served.
func (f *fronts) dhtConn(a netip.Addr) *dhtConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := netip.AddrPortFrom(a, f.config.Port)
	conn := f.conns[at]
	if conn == nil {
		return nil
	}
	c := newDHTConn(at, conn, f.inbox)
	f.dht[at] = c
	return c
}

// Run hands datagrams on until ctx ends. It closes the sockets.
func (f *fronts) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for {
			select {
			case o := <-f.fresh:
				group.Go(func() error { return f.read(ctx, o.at, o.conn) })
			case <-ctx.Done():
				f.close()
				return nil
			}
		}
	})
	return group.Wait()
}

func (f *fronts) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.Close()
	}
}

func (f *fronts) read(ctx context.Context, at netip.AddrPort, conn *net.UDPConn) error {
	for {
		b := f.inbox.buffer()
		n, from, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed) && f.conn(at) != conn:
			return nil // abandoned
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read UDP %v: %w", at, err)
		case err != nil:
			f.drop(b, "icmp-error") // of an earlier datagram
		case n > largestDatagram:
			f.drop(b, "size")
		default:
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			f.handle(datagram{at: at, from: from, data: b[:n]})
		}
	}
}

// handle takes the buffer over.
func (f *fronts) handle(d datagram) {
	kind := demux.Classify(d.data)
	switch {
	case kind == demux.STUN:
		f.answerSTUN(d)
		f.inbox.release(d.data)
	case d.at.Port() != f.config.Port:
		f.drop(d.data, "not-stun")
	case kind == demux.DHT:
		f.mu.RLock()
		c := f.dht[d.at]
		f.mu.RUnlock()
		if c == nil {
			f.drop(d.data, "dht-not-here")
		} else if !c.deliver(d) {
			f.drop(d.data, "dht-busy")
		}
	case kind == demux.CredAnt && wire.IsRelay(d.data):
		f.inbox.put(d)
	default:
		f.drop(d.data, "unknown-protocol")
	}
}

func (f *fronts) answerSTUN(d datagram) {
	response, leave, to, ok := f.stun.Respond(time.Now(), d.data, d.at, d.from)
	if !ok {
		return // counted there
	}
	if f.send(leave, to, response) == nil {
		f.stunAnswers.Add(1)
	}
}

func (f *fronts) drop(b []byte, reason string) {
	f.drops.count(reason)
	f.inbox.release(b)
}

// send sends from an own address and port.
func (f *fronts) send(from, to netip.AddrPort, b []byte) error {
	conn := f.conn(from)
	if conn == nil {
		return fmt.Errorf("send from %v: no such front port", from)
	}
	_, err := conn.WriteToUDPAddrPort(b, to)
	return err
}
