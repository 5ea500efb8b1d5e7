package embedded

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// parseDevice reads the answer to a "get" operation. Unknown keys are skipped,
// as the protocol asks.
func parseDevice(r io.Reader) (*wgtypes.Device, error) {
	p := deviceParser{device: wgtypes.Device{Type: wgtypes.Userspace}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			break
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("parse device: no %q in %q", "=", line)
		}
		if err := p.line(key, value); err != nil {
			return nil, fmt.Errorf("parse device: %s: %w", key, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("parse device: %w", err)
	}
	return &p.device, nil
}

// deviceParser collects lines. Those after the first public_key belong to the
// peer that the last public_key began.
type deviceParser struct {
	device    wgtypes.Device
	peer      *wgtypes.Peer
	handshake int64 // seconds of the peer's last handshake
}

func (p *deviceParser) line(key, value string) (err error) {
	if key == "public_key" {
		p.device.Peers = append(p.device.Peers, wgtypes.Peer{})
		p.peer = &p.device.Peers[len(p.device.Peers)-1]
		p.handshake = 0
		p.peer.PublicKey, err = parseKey(value)
		return err
	}
	if p.peer != nil {
		return p.peerLine(key, value)
	}
	switch key {
	case "private_key":
		if p.device.PrivateKey, err = parseKey(value); err == nil {
			p.device.PublicKey = p.device.PrivateKey.PublicKey()
		}
	case "listen_port":
		p.device.ListenPort, err = strconv.Atoi(value)
	case "fwmark":
		p.device.FirewallMark, err = strconv.Atoi(value)
	}
	return err
}

func (p *deviceParser) peerLine(key, value string) (err error) {
	switch key {
	case "preshared_key":
		p.peer.PresharedKey, err = parseKey(value)
	case "endpoint":
		var endpoint netip.AddrPort
		if endpoint, err = netip.ParseAddrPort(value); err == nil {
			p.peer.Endpoint = net.UDPAddrFromAddrPort(endpoint)
		}
	case "persistent_keepalive_interval":
		var seconds uint64
		seconds, err = strconv.ParseUint(value, 10, 16)
		p.peer.PersistentKeepaliveInterval = time.Duration(seconds) * time.Second
	case "last_handshake_time_sec":
		p.handshake, err = strconv.ParseInt(value, 10, 64)
	case "last_handshake_time_nsec":
		var nsec int64
		if nsec, err = strconv.ParseInt(value, 10, 64); err == nil && (p.handshake != 0 || nsec != 0) {
			p.peer.LastHandshakeTime = time.Unix(p.handshake, nsec)
		}
	case "rx_bytes":
		p.peer.ReceiveBytes, err = strconv.ParseInt(value, 10, 64)
	case "tx_bytes":
		p.peer.TransmitBytes, err = strconv.ParseInt(value, 10, 64)
	case "protocol_version":
		p.peer.ProtocolVersion, err = strconv.Atoi(value)
	case "allowed_ip":
		var prefix netip.Prefix
		if prefix, err = netip.ParsePrefix(value); err == nil {
			p.peer.AllowedIPs = append(p.peer.AllowedIPs, net.IPNet{
				IP:   prefix.Addr().AsSlice(),
				Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
			})
		}
	}
	return err
}

// parseKey does not put the value into its errors: it may be a private key.
func parseKey(value string) (wgtypes.Key, error) {
	b, err := hex.DecodeString(value)
	if err != nil || len(b) != wgtypes.KeyLen {
		return wgtypes.Key{}, fmt.Errorf("not %d bytes in hexadecimal", wgtypes.KeyLen)
	}
	return wgtypes.Key(b), nil
}
