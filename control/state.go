package control

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/lan"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// What is kept of one network, in STATEDIR/NETWORK (0700), each file 0600:
//
//	network.key    the network key, one line of base64; never the passphrase
//	node.key       identity: this node's private keys, bound to the machine id
//	own-names.json what this node was called by its users, and whom it forgot
//	blocked.json   who is shut out
//	routes.json    which node is meant by a name that routes are taken from
//	names.json     who holds which name on this host
//	memory.json    what is convenient to keep: port, interface, addresses
//	mappings.json  what routers were asked to forward (package portmap)
//	resolver.json  what was changed of the host's resolver (package hostdns)
//	cache          members and DHT nodes that answered (package discovery)
//	log            the daemon's, where nothing else keeps it
//
// A file that cannot be read or understood is an error that names it, but for
// those that can be done without, which are written anew. Keys are
// never overwritten: a new identity goes in only where the old one was moved
// aside by us or is not there.

// ErrOtherPassphrase means that the passphrase belongs to another network key
// than the one which is stored.
var ErrOtherPassphrase = errors.New("another passphrase is stored for this network")

func networkDir(stateDir, network string) string { return filepath.Join(stateDir, network) }

// HasKey tells whether a network key is stored, so that no passphrase is
// needed. A key that cannot be read is an error.
func HasKey(stateDir, network string) (bool, error) {
	_, err := LoadKey(stateDir, network)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// LoadKey reads the stored network key. Without one the error is
// fs.ErrNotExist.
func LoadKey(stateDir, network string) (keys.NetworkKey, error) {
	path := filepath.Join(networkDir(stateDir, network), "network.key")
	b, err := os.ReadFile(path)
	if err != nil {
		return keys.NetworkKey{}, fmt.Errorf("read the network key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err == nil {
		var k keys.NetworkKey
		if k, err = keys.ParseNetworkKey(raw); err == nil {
			return k, nil
		}
	}
	return keys.NetworkKey{}, fmt.Errorf("the network key in %s is damaged (%w): move the file away and run \"credant up\" with the passphrase again", path, err)
}

// Join makes sure that the network key of the passphrase is stored, and
// returns it. The derivation takes 64 MiB and part of a second, in a process
// of its own so that a daemon does not keep that memory.
func Join(ctx context.Context, stateDir, network string, passphrase []byte) (keys.NetworkKey, error) {
	derived, err := deriveInChild(ctx, passphrase, network)
	if err != nil {
		return keys.NetworkKey{}, err
	}
	stored, err := LoadKey(stateDir, network)
	switch {
	case err == nil && hmac.Equal(stored.Bytes(), derived.Bytes()):
		return stored, nil
	case err == nil:
		return keys.NetworkKey{}, fmt.Errorf("%w (%s): leave the passphrase out to use the stored one, choose another --network, or join anew after \"credant leave\"",
			ErrOtherPassphrase, networkDir(stateDir, network))
	case !errors.Is(err, fs.ErrNotExist):
		return keys.NetworkKey{}, err
	}
	line := base64.StdEncoding.EncodeToString(derived.Bytes()) + "\n"
	return derived, writeNew(networkDir(stateDir, network), "network.key", []byte(line))
}

// identity is what makes this node itself within one network.
type identity struct {
	node      keys.NodePrivate
	wireGuard wgtypes.Key
}

type identityFile struct {
	Comment   string `json:"comment"`
	Machine   string `json:"machine,omitempty"` // see machineMark
	Node      []byte `json:"node"`              // Ed25519 seed
	WireGuard []byte `json:"wireguard"`         // Curve25519 private key
}

// loadIdentity reads this node's keys, or makes them at the first start. Keys
// that were made on another machine belong to a cloned image: they are moved
// aside, and notice says so.
func loadIdentity(stateDir, network string) (id identity, notice string, err error) {
	dir := networkDir(stateDir, network)
	path := filepath.Join(dir, "node.key")
	mark := machineMark(network)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id, err = newIdentity(dir, mark)
		return id, "", err
	case err != nil:
		return identity{}, "", fmt.Errorf("read the node's keys: %w", err)
	}
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil {
		return identity{}, "", damagedIdentity(path, err)
	}
	if f.Machine != "" && mark != "" && f.Machine != mark {
		aside := fmt.Sprintf("%s.of-another-machine-%d", path, time.Now().UnixMilli())
		if err := os.Rename(path, aside); err != nil {
			return identity{}, "", fmt.Errorf("set the other machine's keys aside: %w", err)
		}
		// The port, the addresses, the sequence number and the names were the other's too.
		for _, name := range []string{"memory.json", ownNamesFile} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return identity{}, "", fmt.Errorf("forget the other machine's settings: %w", err)
			}
		}
		id, err = newIdentity(dir, mark)
		return id, "this machine's id has changed (a cloned image?): the old keys were set aside as " + filepath.Base(aside) + " and new ones made", err
	}
	if id.node, err = keys.ParseNodePrivate(f.Node); err != nil {
		return identity{}, "", damagedIdentity(path, err)
	}
	if id.wireGuard, err = wgtypes.NewKey(f.WireGuard); err != nil {
		return identity{}, "", damagedIdentity(path, err)
	}
	return id, "", nil
}

func damagedIdentity(path string, err error) error {
	return fmt.Errorf("the node's keys in %s are damaged (%w): restore the file, or move it away to become a new node", path, err)
}

func newIdentity(dir, mark string) (identity, error) {
	node := keys.GenerateNode()
	wg, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return identity{}, fmt.Errorf("make a WireGuard key: %w", err)
	}
	b, err := json.MarshalIndent(identityFile{
		Comment:   "private keys of this node: keep them secret, never copy them to another machine",
		Machine:   mark,
		Node:      node.Seed(),
		WireGuard: wg[:],
	}, "", "  ")
	if err != nil {
		return identity{}, err
	}
	return identity{node: node, wireGuard: wg}, writeNew(dir, "node.key", append(b, '\n'))
}

// machineMark names this machine without giving its id away, as
// machine-id(5) asks. It is empty where there is no machine id.
func machineMark(network string) string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		b, err := os.ReadFile(path)
		id := strings.TrimSpace(string(b))
		if err != nil || len(id) < 32 {
			continue
		}
		mac := hmac.New(sha256.New, []byte(id))
		mac.Write([]byte("credant/1/machine/" + network))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
	}
	return ""
}

// memory is what a node likes to keep over a restart, and can do without.
type memory struct {
	Port      uint16       `json:"port,omitempty"`
	Interface string       `json:"interface,omitempty"`
	Address4  netip.Addr   `json:"address4,omitzero"`
	Settled4  bool         `json:"settled4,omitempty"`
	Settled   []netip.Addr `json:"settled,omitempty"`  // all addresses that nobody disputes
	Subnet    netip.Prefix `json:"subnet,omitzero"`    // claimed by the network, not by this node
	Sequence  uint64       `json:"sequence,omitempty"` // of the last record that was signed
}

// settled tells whether the address was this node's undisputed.
func (m memory) settled(addr netip.Addr) bool {
	return m.Settled4 && addr == m.Address4 || slices.Contains(m.Settled, addr)
}

func (m memory) equal(o memory) bool {
	return m.Port == o.Port && m.Interface == o.Interface && m.Address4 == o.Address4 && m.Settled4 == o.Settled4 &&
		slices.Equal(m.Settled, o.Settled) && m.Subnet == o.Subnet && m.Sequence == o.Sequence
}

// loadMemory goes on without a damaged file, as a power cut leaves it: a node that
// does not start at all is worse than another port, and a notice tells.
func loadMemory(stateDir, network string) (m memory, notice string, err error) {
	path, damage, err := readState(stateDir, network, "memory.json", &m)
	if err != nil {
		return memory{}, "", fmt.Errorf("read what is remembered: %w", err)
	}
	if damage != nil {
		return memory{}, fmt.Sprintf("%s was damaged (%.200v) and is written anew: this node may have another port and address now", path, damage), nil
	}
	return m, "", nil
}

func (m memory) save(stateDir, network string) error {
	if err := writeState(stateDir, network, "memory.json", replaceFile, m); err != nil {
		return fmt.Errorf("remember port and address: %w", err)
	}
	return nil
}

// replaceFile writes a file in the place of another, whole or not at all, for its
// owner alone.
func replaceFile(path string, content []byte) error {
	return replaceFileBy(path, content, func(*os.File) error { return nil })
}

// replaceFileDurably does so and waits for the disk: what is in it was said by a
// person, and a damaged file would keep the daemon from its next start.
func replaceFileDurably(path string, content []byte) error {
	return replaceFileBy(path, content, (*os.File).Sync)
}

func replaceFileBy(path string, content []byte, sync func(*os.File) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*")
	if err != nil {
		return notWritten(path, err)
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	_, err = tmp.Write(content)
	if err := cmp.Or(err, sync(tmp), tmp.Close()); err != nil {
		return notWritten(path, err)
	}
	return os.Rename(tmp.Name(), path)
}

// notWritten names the file itself instead of the temporary one.
func notWritten(path string, err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		err = of.Err
	}
	return stateProblem("write "+path, err)
}

// randomPort picks a UDP port below Linux's default ephemeral range (32768 and
// up), where neither the kernel nor well-known services look for one, and other
// than that of beacons, which could not be heard then. Two hosts behind one NAT
// should not share it.
func randomPort() uint16 {
	const first, count = 20000, 12000
	port := uint16(first + rand.IntN(count-1))
	if port == lan.Port {
		port = first + count - 1
	}
	return port
}

// writeNew creates a file that must not exist yet, whole or not at all.
func writeNew(dir, name string, content []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateProblem("make the state folder", err)
	}
	tmp, err := os.CreateTemp(dir, name+"-*")
	if err != nil {
		return stateProblem("write "+name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return stateProblem("write "+name, err)
	}
	// A link refuses to replace, which a rename would do silently.
	if err := os.Link(tmp.Name(), filepath.Join(dir, name)); err != nil {
		return stateProblem("write "+name, err)
	}
	return nil
}

// stateProblem says what a person can do where nothing can be kept.
func stateProblem(what string, err error) error {
	mend := "choose a folder that can be written with --state-dir"
	if errors.Is(err, syscall.ENOSPC) {
		mend = "free space on that disk, or choose a folder on another one with --state-dir"
	}
	return fmt.Errorf("%s: %w: %s", what, err, mend)
}
