package mainline

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// maxKeeps items are kept stored at a time besides the Config's.
const maxKeeps = 4

// keep is one call of KeepItem.
type keep struct {
	group *group
	taken chan bool // one answer of each family: false where it keeps too many
	ended <-chan struct{}
}

func (k *keep) over() bool {
	select {
	case <-k.ended:
		return true
	default:
		return false
	}
}

// KeepItem keeps the item stored, beside the Config's, until ctx is done, and returns
// nil then. What the nodes hold by then lasts for two hours or so (BEP 44).
func (s *Source) KeepItem(ctx context.Context, i Item) error {
	p := newPublisher(i)
	if err := p.check(); err != nil {
		return err
	}
	defer s.Wake() // who still keeps it is to notice
	for _, f := range s.families {
		k := &keep{group: putGroup(p), taken: make(chan bool, 1), ended: ctx.Done()}
		select {
		case f.keeps <- k:
		case <-s.ended:
			return errors.New("keep item: the DHT source has ended")
		case <-ctx.Done():
			return nil
		}
		select {
		case taken := <-k.taken:
			if !taken {
				return fmt.Errorf("keep item: more than %d at a time", maxKeeps)
			}
		case <-s.ended:
			return errors.New("keep item: the DHT source has ended")
		}
	}
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	return nil
}

// keep begins to keep an item stored.
func (f *family) keep(k *keep) {
	if len(f.keeping) >= maxKeeps {
		k.taken <- false
		return
	}
	f.keeping = append(f.keeping, k)
	f.groups = append(f.groups, k.group)
	k.taken <- true
}

// endKeeps gives up the items that nobody wants kept any more.
func (f *family) endKeeps() {
	f.keeping = slices.DeleteFunc(f.keeping, func(k *keep) bool {
		if !k.over() {
			return false
		}
		f.groups = slices.DeleteFunc(f.groups, func(g *group) bool { return g == k.group })
		return true
	})
}
