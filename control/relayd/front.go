package relayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	conns map[netip.AddrPort]*net.UDPConn
	port  uint16
	stun  *stunserver.Server
	inbox *inbox
	dht   map[netip.AddrPort]*dhtConn // by own address and port
	drops *drops

	stunAnswers atomic.Uint64
}

// frontBuffer is what the kernel may keep for a front port: a burst of a
// thousand frames while the reader waits for a processor.
const frontBuffer = 2 << 20

func openFronts(ctx context.Context, c Config, locals []netip.Addr, in *inbox, d *drops) (*fronts, error) {
	f := &fronts{
		conns: make(map[netip.AddrPort]*net.UDPConn),
		port:  c.Port,
		stun:  stunserver.New(stunserver.Config{Addrs: locals, Ports: c.fronts()}),
		inbox: in, drops: d,
		dht: make(map[netip.AddrPort]*dhtConn),
	}
	for _, port := range c.fronts() {
		for _, a := range locals {
			at := netip.AddrPortFrom(a, port)
			conn, err := listen(ctx, at)
			if err != nil {
				f.close()
				return nil, explainListen(c, at, err)
			}
			f.conns[at] = conn
		}
	}
	return f, nil
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
// speaks from that address alone. To be called before Run.
func (f *fronts) dhtConn(a netip.Addr) *dhtConn {
	at := netip.AddrPortFrom(a, f.port)
	c := newDHTConn(at, f.conns[at], f.inbox)
	f.dht[at] = c
	return c
}

// Run hands datagrams on until ctx ends. It closes the sockets.
func (f *fronts) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for at, conn := range f.conns {
		group.Go(func() error { return f.read(ctx, at, conn) })
	}
	group.Go(func() error {
		<-ctx.Done()
		f.close()
		return nil
	})
	return group.Wait()
}

func (f *fronts) close() {
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
	case d.at.Port() != f.port:
		f.drop(d.data, "not-stun")
	case kind == demux.DHT:
		if c := f.dht[d.at]; c == nil {
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
	conn := f.conns[from]
	if conn == nil {
		return fmt.Errorf("send from %v: no such front port", from)
	}
	_, err := conn.WriteToUDPAddrPort(b, to)
	return err
}
