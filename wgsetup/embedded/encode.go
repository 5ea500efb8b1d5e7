package embedded

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// appendConfig encodes cfg as the body of a "set" operation. The order of a
// peer's lines matters: wireguard-go obeys them one after the other, and a
// line after remove=true is for nobody.
func appendConfig(b []byte, cfg wgtypes.Config) []byte {
	if cfg.PrivateKey != nil {
		b = appendKey(b, "private_key", *cfg.PrivateKey)
	}
	if cfg.ListenPort != nil {
		b = appendInt(b, "listen_port", *cfg.ListenPort)
	}
	if cfg.FirewallMark != nil {
		b = appendInt(b, "fwmark", *cfg.FirewallMark)
	}
	if cfg.ReplacePeers {
		b = append(b, "replace_peers=true\n"...)
	}
	for _, p := range cfg.Peers {
		b = appendPeer(b, p)
	}
	return b
}

func appendPeer(b []byte, p wgtypes.PeerConfig) []byte {
	b = appendKey(b, "public_key", p.PublicKey)
	if p.UpdateOnly {
		b = append(b, "update_only=true\n"...)
	}
	if p.Remove {
		return append(b, "remove=true\n"...)
	}
	if p.PresharedKey != nil {
		b = appendKey(b, "preshared_key", *p.PresharedKey)
	}
	if p.Endpoint != nil {
		endpoint := p.Endpoint.AddrPort()
		endpoint = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port())
		b = append(b, "endpoint="...)
		b = append(endpoint.AppendTo(b), '\n')
	}
	if p.PersistentKeepaliveInterval != nil {
		b = appendInt(b, "persistent_keepalive_interval", int(*p.PersistentKeepaliveInterval/time.Second))
	}
	if p.ReplaceAllowedIPs {
		b = append(b, "replace_allowed_ips=true\n"...)
	}
	for _, ip := range p.AllowedIPs {
		b = append(b, "allowed_ip="...)
		b = append(b, ip.String()...)
		b = append(b, '\n')
	}
	return b
}

func appendKey(b []byte, name string, k wgtypes.Key) []byte {
	b = append(append(b, name...), '=')
	return append(hex.AppendEncode(b, k[:]), '\n')
}

func appendInt(b []byte, name string, n int) []byte {
	b = append(append(b, name...), '=')
	return append(strconv.AppendInt(b, int64(n), 10), '\n')
}
