package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/dns/hostdns"
	"github.com/credant/credant/wgsetup"
)

// Clean takes away what a daemon that is gone left of a network: the device
// with its addresses, routes and peers, the nftables tables, the dead socket.
// It returns what was there, in words; that nothing is left is no error.
func Clean(network string) (removed []string, err error) {
	if err := keys.ValidNetworkName(network); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := localapi.NewClient(DefaultSocket(network)).Status(ctx); !errors.Is(err, localapi.ErrNotRunning) {
		return nil, fmt.Errorf("a daemon of network %s has just started: take it down with \"credant down\"", network)
	}
	removed, err = hostdns.Clean("", network, resolverRecord(DefaultStateDir, network))
	host, cleanErr := wgsetup.Clean(network)
	removed, err = append(removed, host...), errors.Join(err, cleanErr)
	switch e := os.Remove(DefaultSocket(network)); {
	case e == nil:
		removed = append(removed, "socket "+DefaultSocket(network))
	case !errors.Is(e, fs.ErrNotExist):
		err = errors.Join(err, fmt.Errorf("remove the dead socket: %w", e))
	}
	return removed, err
}
