package sideport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// table is the nftables table of one side port. Its methods are called by one
// goroutine at a time.
type table struct {
	config Config
	side   uint16

	conn  *nftables.Conn
	raw   *netlink.Conn // conn's own socket: the kernel knows the owner by it
	owned bool

	noOwner bool // tests: be as a kernel before 5.12
}

const (
	outputChain = "out"
	inputChain  = "in"

	tableOwner = 0x2 // NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h
)

// errTaken means that another process owns a table of this name.
var errTaken = errors.New("owned by another process")

func (t *table) nft() *nftables.Table {
	return &nftables.Table{Name: t.config.Table, Family: nftables.TableFamilyINet}
}

// dial opens the netlink socket that, where the kernel has owner tables, the
// table will live as long as.
func (t *table) dial() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.raw = c
		return nil
	}))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t.conn = conn
	return nil
}

// install makes the table anew, whatever is there.
func (t *table) install() error {
	nft := t.nft()
	tables, err := t.conn.ListTablesOfFamily(nft.Family)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, there := range tables {
		if there.Name == nft.Name {
			t.conn.DelTable(nft)
		}
	}
	if err := t.flush("clear"); err != nil {
		return err
	}
	switch err := t.addOwned(); {
	case err == nil:
		t.owned = true
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		// Before 5.12 the flag is unknown.
		t.owned = false
		t.conn.AddTable(nft)
	default:
		return fmt.Errorf("add table %s: %w", nft.Name, err)
	}
	if err := t.addRules(nft); err != nil {
		return err
	}
	return t.flush("fill")
}

// replace changes the rules in one transaction: there is no moment without.
func (t *table) replace() error {
	nft := t.nft()
	if t.owned {
		// The library writes a table without its flags, which the kernel
		// refuses for an owned one: so the table stays.
		t.conn.FlushTable(nft)
	} else {
		t.conn.AddTable(nft)
		t.conn.DelTable(nft)
		t.conn.AddTable(nft)
	}
	if err := t.addRules(nft); err != nil {
		return err
	}
	return t.flush("replace")
}

func (t *table) addRules(nft *nftables.Table) error {
	out := t.conn.AddChain(&nftables.Chain{
		Table: nft, Name: outputChain, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(outputPriority),
	})
	in := t.conn.AddChain(&nftables.Chain{
		Table: nft, Name: inputChain, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(inputPriority),
	})
	types, elements := wireGuardTypes(nft)
	if err := t.conn.AddSet(types, elements); err != nil {
		return fmt.Errorf("add set to table %s: %w", nft.Name, err)
	}
	for _, r := range outputRules(t.config, t.side) {
		t.conn.AddRule(&nftables.Rule{Table: nft, Chain: out, Exprs: r})
	}
	for _, r := range inputRules(t.config, t.side, types) {
		t.conn.AddRule(&nftables.Rule{Table: nft, Chain: in, Exprs: r})
	}
	return nil
}

// whole says whether every rule is there. Rules changed in place are not
// noticed: nobody does that to a table of another's.
func (t *table) whole() (bool, error) {
	nft := t.nft()
	for name, want := range map[string]int{
		outputChain: len(outputRules(t.config, t.side)),
		inputChain:  len(inputRules(t.config, t.side, &nftables.Set{})),
	} {
		rules, err := t.conn.GetRules(nft, &nftables.Chain{Table: nft, Name: name})
		switch {
		case errors.Is(err, unix.ENOENT):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("list rules of table %s: %w", nft.Name, err)
		case len(rules) != want:
			return false, nil
		}
	}
	return true, nil
}

// remove takes the table away and closes the socket.
func (t *table) remove() error {
	if t.conn == nil {
		return nil
	}
	t.conn.DelTable(t.nft())
	err := t.flush("remove")
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, t.conn.CloseLasting())
}

func (t *table) flush(what string) error {
	err := t.conn.Flush()
	if err == nil {
		return nil
	}
	t.drain()
	if errors.Is(err, unix.EPERM) {
		err = errTaken
	}
	return fmt.Errorf("%s table %s: %w", what, t.config.Table, err)
}

// drain reads the answers that the library leaves in the socket when it gives
// up on a transaction: the next one would take them for its own. They are
// there already, for the kernel answers before the sending call returns.
func (t *table) drain() {
	_ = t.raw.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	defer func() { _ = t.raw.SetReadDeadline(time.Time{}) }()
	for {
		if _, err := t.raw.Receive(); errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// addOwned adds the empty table with the owner flag, which the library does
// not write.
func (t *table) addOwned() error {
	if t.noOwner {
		return unix.EINVAL
	}
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(t.config.Table), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, tableOwner)},
	})
	if err != nil {
		return err
	}
	header := func(family byte, resource uint16) []byte {
		// struct nfgenmsg: family, version 0, resource in network order.
		return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	}
	_, err = t.raw.SendMessages([]netlink.Message{
		{
			Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request},
			Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
			},
			Data: append(header(unix.NFPROTO_INET, 0), attributes...),
		},
		{
			Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request},
			Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		},
	})
	if err != nil {
		return err
	}
	_, err = t.raw.Receive() // the acknowledgement, or the error
	return err
}
