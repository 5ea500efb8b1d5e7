package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const tableOwner = 0x2 // NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h

func (t *Table) flush(what string) error {
	err := t.conn.Flush()
	if err == nil {
		return nil
	}
	t.drain()
	if errors.Is(err, unix.EPERM) {
		err = ErrTaken
	}
	return fmt.Errorf("%s table %s: %w", what, t.nft.Name, err)
}

// drain reads the answers that the library leaves in the socket when it gives
// up on a transaction: the next one would take them for its own. They are
// there already, for the kernel answers before the sending call returns.
func (t *Table) drain() {
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
func (t *Table) addOwned() error {
	if t.noOwner {
		return unix.EINVAL
	}
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(t.nft.Name), 0)},
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
