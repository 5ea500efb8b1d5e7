package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// errLeft is the cause when this node has left the network for good.
var errLeft = errors.New("left the network")

// goodbyes are the pauses after each time that the others are told of a
// departure. Nothing is acknowledged; what is lost three times reaches them as
// gossip.
var goodbyes = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 50 * time.Millisecond}

// maxGoodbyes bounds whom this node tells itself; they tell the others.
const maxGoodbyes = 256

// Leave tells the others that this node is gone for good. The function that it
// returns takes the network down and deletes its keys and state.
func (d *daemon) Leave(ctx context.Context) (localapi.Left, func(), error) {
	told := d.sayGoodbye(ctx)
	if err := ctx.Err(); err != nil {
		return localapi.Left{}, nil, err
	}
	left := localapi.Left{Told: told, Folder: networkDir(d.config.StateDir, d.config.Network)}
	return left, func() { d.stop(errLeft) }, nil
}

// sayGoodbye signs the record that ends this node's stay and sends it to those
// that it can reach. It returns how many that are.
func (d *daemon) sayGoodbye(ctx context.Context) (told int) {
	for _, pause := range goodbyes {
		if !d.inLoop(ctx, func() { told = max(told, d.mesh.depart(time.Now(), time.Now())) }) {
			return told
		}
		select {
		case <-ctx.Done():
			return told
		case <-time.After(pause):
		}
	}
	return told
}

// takeLeave ends an ephemeral node's stay before the network goes down, unless
// the next start is to adopt it. It lets the end, which outer tells of, wait for
// that.
func (d *daemon) takeLeave(ctx, outer context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-outer.Done():
	}
	if d.config.Ephemeral && !errors.Is(context.Cause(outer), ErrDetach) {
		d.sayGoodbye(ctx)
	}
	d.stop(context.Cause(outer))
	return nil
}

// depart tells those whom this node can reach that it has left, and returns how
// many that are. Nothing else is published from then on.
func (m *mesh) depart(now, wall time.Time) (told int) {
	if !m.publisher.departed {
		m.publisher.departed = true
		m.sign(now, wall)
	}
	goodbye := wire.Signal{Introduce: &wire.Introduce{Signed: m.publisher.signed, Age: now.Sub(m.publisher.at)}}
	for _, p := range m.peers {
		if told < maxGoodbyes && p.working() && p.met {
			m.say(p, goodbye)
			told++
		}
	}
	return told
}

// farewell is the record that says that this node has left.
func (m *mesh) farewell() wire.Record {
	return wire.Record{
		Node: m.self.public, WireGuard: m.self.wireGuard, Probe: m.self.probe.Public(),
		Lifetime: m.publisher.lifetime(), MaxVersion: wire.Version, Departed: true,
		Addresses: []wire.AddressClaim{{Addr: keys.Address6(m.prefix6, m.self.public), Settled: true}},
	}
}

// stateFiles are the files of a network's folder, and what writing them in one
// step leaves after a crash. Others are not touched: the folder's place is the
// user's choice, and it may be more than this program's.
var stateFiles = append([]string{
	"network.key", "network.key-*", "node.key", "node.key-*", "node.key.of-another-machine-*",
	"memory.json", "mappings.json", "names.json", ownNamesFile, "blocked.json", "resolver.json", "routes.json",
	"cache", "log", "log.1",
}, unfinished...)

// unfinished are the files that a crash left in the middle of writing others, but for
// keys, which another process may be storing.
var unfinished = []string{
	"memory.json-*", "mappings.json-*", "names.json-*", ownNamesFile + "-*", "blocked.json-*", "routes.json-*",
	".cache.*", ".resolver.json.*",
}

// clearUnfinished deletes them, before the daemon writes any.
func clearUnfinished(dir string) {
	for _, pattern := range unfinished {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)) // the patterns are well-formed
		for _, path := range found {
			_ = os.Remove(path) // it takes room, and that is all
		}
	}
}

// DeleteState deletes this host's keys and state of a network, and the folder if
// nothing else is in it. That there are none is no error. The daemon must not
// run.
func DeleteState(stateDir, network string) error {
	if err := keys.ValidNetworkName(network); err != nil {
		return err
	}
	dir := networkDir(stateDir, network)
	var errs []error
	for _, pattern := range stateFiles {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)) // the patterns are well-formed
		for _, path := range found {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	_ = os.Remove(dir) // fails where something else is in it
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete what is kept of network %s: %w: remove it by hand", network, err)
	}
	return nil
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(path string) string {
	var b []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}
