package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// echo sends one ICMP echo request and waits for its reply until ctx ends. It
// needs CAP_NET_RAW.
func echo(ctx context.Context, from, to netip.Addr) (time.Duration, error) {
	network, proto := "ip4:icmp", 1
	request, reply := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	if to.Is6() {
		network, proto = "ip6:ipv6-icmp", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	conn, err := icmp.ListenPacket(network, from.String())
	if err != nil {
		return 0, fmt.Errorf("open an ICMP socket: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()

	id, cookie := rand.IntN(1<<16), rand.Uint64()
	payload := binary.BigEndian.AppendUint64(make([]byte, 0, 56), cookie)
	msg := icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: 1, Data: payload[:56]}}
	b, err := msg.Marshal(nil)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, fmt.Errorf("send an echo request to %s: %w", to, err)
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return 0, errors.New("no answer")
		}
		if err != nil {
			return 0, fmt.Errorf("wait for the echo reply: %w", err)
		}
		got, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil || got.Type != reply {
			continue
		}
		if e, ok := got.Body.(*icmp.Echo); ok && e.ID == id && len(e.Data) >= 8 && binary.BigEndian.Uint64(e.Data) == cookie {
			return time.Since(sent), nil
		}
	}
}
