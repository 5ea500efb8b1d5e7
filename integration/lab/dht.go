package lab

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
)

//go:embed dht.py
var dhtScript string

// DHTPort is the UDP port of every node of the DHT.
const DHTPort = 6881

// A DHT is a private BitTorrent DHT: one libtorrent node on each address of a public host.
type DHT struct {
	Bootstrap  netip.AddrPort // IPv4 of its first node
	Bootstrap6 netip.AddrPort // its IPv6
	process    *Process
}

// StartDHT starts a node on each of the host's addresses (set Addresses; 16 make a DHT of several hops) and returns
// when they know each other. It needs Debian's python3-libtorrent.
func (h *Host) StartDHT(ctx context.Context) (*DHT, error) {
	args := []string{"/usr/bin/python3", "-u", "-c", dhtScript, strconv.Itoa(DHTPort)}
	v4, v6 := h.IPv4(), h.IPv6()
	for i := range v4 {
		args = append(args, v4[i].String()+","+v6[i].String())
	}
	process, err := h.Start(Program{Args: args})
	if err != nil {
		return nil, err
	}
	process.Name = h.Name + ": DHT"
	if err := process.WaitOutput(ctx, "ready"); err != nil {
		process.Kill()
		return nil, fmt.Errorf("start DHT: %w", err)
	}
	return &DHT{
		Bootstrap: netip.AddrPortFrom(v4[0], DHTPort), Bootstrap6: netip.AddrPortFrom(v6[0], DHTPort), process: process,
	}, nil
}

// Stop ends all nodes at once.
func (d *DHT) Stop() { d.process.Kill() }
