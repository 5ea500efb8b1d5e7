package member

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/credant/credant/integration/lab"
)

// RelayPort is the front port of a relay.
const RelayPort = 3478

// A Relay is a host that runs credant-relay. Host and Binary must be set.
type Relay struct {
	Host   *lab.Host
	Binary string
	Flags  []string
	Log    io.Writer

	key    string
	daemon *lab.Process
}

// Start starts the relay and returns once its port is open. Started again, it has the same key.
func (r *Relay) Start(ctx context.Context) error {
	p, err := r.Host.Start(lab.Program{Args: append([]string{r.Binary}, r.Flags...), Output: r.Log})
	if err != nil {
		return err
	}
	r.daemon = p
	for !strings.Contains(p.Output(), "--relay") {
		select {
		case <-p.Done():
			return fmt.Errorf("start %s: it ended; its output: %s", p.Name, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w; its output: %s", p.Name, ctx.Err(), p.Output())
		case <-time.After(5 * time.Millisecond):
		}
	}
	_, key, found := strings.Cut(p.Output(), fmt.Sprintf(":%d#", RelayPort))
	if !found || len(key) < 52 {
		return fmt.Errorf("start %s: it printed no key: %s", p.Name, p.Output())
	}
	r.key = key[:52]
	return nil
}

// Daemon is the program that Start started last, or nil.
func (r *Relay) Daemon() *lab.Process { return r.daemon }

// Address is what nodes are told with --relay: the first IPv4 address of the host, and the key.
func (r *Relay) Address() string { return r.At(r.Host.IPv4()[0]) }

// At is Address by another address of the host.
func (r *Relay) At(addr netip.Addr) string {
	return fmt.Sprintf("%s#%s", netip.AddrPortFrom(addr, RelayPort), r.key)
}
