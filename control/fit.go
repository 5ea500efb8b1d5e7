package control

import (
	"errors"
	"fmt"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// leanCandidates and leanRelays are what a record keeps before anything that the
// user asked for is left out.
const (
	leanCandidates = 4
	leanRelays     = 1
)

// signFitting signs a record, without what there is no room for: candidates and
// relays that come last first, they are the worst. It returns a sentence where
// that was not enough and something that was asked for is missing.
func signFitting(r *wire.Record, k keys.NodePrivate) (signed wire.SignedRecord, cut string, err error) {
	for {
		signed, err = wire.Sign(*r, k)
		if _, tooLarge := errors.AsType[*wire.TooLargeError](err); !tooLarge {
			return signed, cut, err
		}
		switch {
		case len(r.Candidates) > leanCandidates:
			r.Candidates = r.Candidates[:len(r.Candidates)-1]
		case len(r.Relays) > leanRelays:
			r.Relays = r.Relays[:len(r.Relays)-1]
		case len(r.Routes) > 0:
			last := len(r.Routes) - 1
			cut = fmt.Sprintf("this node has more names, addresses and routes than others can be told: the route %s is not known to them; advertise fewer", r.Routes[last])
			r.Routes = r.Routes[:last]
		case len(r.Aliases) > 0:
			last := len(r.Aliases) - 1
			cut = fmt.Sprintf("this node has more names, addresses and routes than others can be told: the name %s is not known to them; take some away", r.Aliases[last])
			r.Aliases = r.Aliases[:last]
		case len(r.Candidates) > 0:
			r.Candidates = r.Candidates[:len(r.Candidates)-1]
		default:
			return signed, cut, err
		}
	}
}
