// Package client is a node's half of the talk with a relay.
package client

import (
	"io"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Config is who asks.
type Config struct {
	Network keys.NetworkID
	Sign    func([]byte) [64]byte // with the network's id key
	Node    keys.NodePrivate
	Rand    io.Reader // nil: crypto/rand
}

// Server is whom to ask.
type Server struct {
	Key   wire.ServerPublic // zero: whoever answers
	Addrs []netip.AddrPort
}

// Client is one relay's client. It is not safe for concurrent use.
type Client struct {
	config Config
	server Server
}

// New returns a client that asks the server at its first Advance.
func New(config Config, server Server) *Client { return &Client{config: config, server: server} }

// SetAddrs says where the relay may be.
func (c *Client) SetAddrs(now time.Time, addrs []netip.AddrPort) {}

// SetBlob registers the node with a blob, in place of the one before. With nil
// the node is registered no longer.
func (c *Client) SetBlob(now time.Time, blob []byte) {}

// SetPeers says which pairs want an allocation.
func (c *Client) SetPeers(now time.Time, peers []keys.NodePublic) {}

// Recheck says that the host's network has changed.
func (c *Client) Recheck(now time.Time) {}

// Owns reports whether what comes from addr is the relay's.
func (c *Client) Owns(addr netip.AddrPort) bool { return false }

// Receive takes in a frame that came from an address that the client Owns.
func (c *Client) Receive(now time.Time, from netip.AddrPort, b []byte) (drop string) { return "" }

// Advance returns what is to be done now.
func (c *Client) Advance(now time.Time) []Output { return nil }

// Next is when Advance has something to do.
func (c *Client) Next() (time.Time, bool) { return time.Time{}, false }

// Status returns the relay as the client sees it.
func (c *Client) Status() Status { return Status{} }
