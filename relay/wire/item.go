package wire

import (
	"fmt"
	"strings"
)

const (
	// ItemSalt names a relay's mutable item (BEP 44) among those of its key. Its
	// value says where the relay is, for nodes that know its key and have lost it.
	ItemSalt = "credant-relay"
	// MaxItem is the longest value, in bytes: BEP 44's 1,000 with the bencoding.
	MaxItem = 990
	// maxItemAddresses bounds what an item can send nodes to.
	maxItemAddresses = 8
)

// EncodeItem returns the value of a relay's item: HOST:PORT, separated by spaces.
// Keys are left out, and so is what does not fit.
func EncodeItem(addrs []ServerAddress) []byte {
	var b []byte
	for _, a := range addrs[:min(len(addrs), maxItemAddresses)] {
		a.Key = ServerPublic{}
		text := a.String()
		if len(b)+1+len(text) > MaxItem {
			break
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, text...)
	}
	return b
}

// ParseItem reads what EncodeItem wrote. Whoever holds the key signed it; that
// makes no address in it true.
func ParseItem(b []byte) ([]ServerAddress, error) {
	if len(b) > MaxItem {
		return nil, fmt.Errorf("parse relay's item of %d bytes: %w", len(b), ErrSize)
	}
	words := strings.Fields(string(b))
	var addrs []ServerAddress
	for _, w := range words[:min(len(words), maxItemAddresses)] {
		a, err := ParseServerAddress(w)
		if err != nil {
			return nil, fmt.Errorf("parse relay's item: %w", err)
		}
		a.Key = ServerPublic{}
		addrs = append(addrs, a)
	}
	return addrs, nil
}
