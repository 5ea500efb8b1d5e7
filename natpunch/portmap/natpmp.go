package portmap

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// pmpTry is as long as one call of go-nat-pmp blocks: it sends twice in that time and cannot be interrupted.
const pmpTry = 500 * time.Millisecond

// A natPMP asks one gateway by NAT-PMP (RFC 6886).
type natPMP struct{ gateway Gateway }

// try calls until there is an answer, three times at most. go-nat-pmp tells a closed port, a timeout and a refusal
// apart by text only.
func (c natPMP) try(ctx context.Context, call func(*natpmp.Client) error) error {
	client := natpmp.NewClientWithLocalAndTimeout(c.gateway.Addr.AsSlice(), c.gateway.Local.AsSlice(), pmpTry)
	for range 3 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := call(client)
		switch {
		case err == nil:
			return nil
		case strings.HasPrefix(err.Error(), "Non-zero result code"):
			return &fault{spoken: true, words: pmpWords(err.Error())}
		case strings.Contains(err.Error(), "refused"):
			return &fault{words: "the gateway does not listen"}
		case strings.HasPrefix(err.Error(), "unknown protocol version"):
			return &fault{words: "the gateway does not speak NAT-PMP"}
		}
	}
	return errSilent
}

// pmpWords translates the refusals of RFC 6886, Section 3.5.
func pmpWords(err string) string {
	for code, words := range map[string]string{
		"code 1 ": "the gateway does not speak this version",
		"code 2 ": "port mapping is switched off at the gateway, or not allowed to this host",
		"code 3 ": "the gateway has no public address",
		"code 4 ": "the gateway has no room for another mapping",
		"code 5 ": "the gateway maps no UDP ports",
	} {
		if strings.Contains(err, code) {
			return words
		}
	}
	return "the gateway refused: " + err
}

// external asks for the gateway's address and its epoch.
func (c natPMP) external(ctx context.Context) (a netip.Addr, epoch uint32, err error) {
	err = c.try(ctx, func(client *natpmp.Client) error {
		r, err := client.GetExternalAddress()
		if err != nil {
			return err
		}
		a, epoch = externalAddr(netip.AddrFrom4(r.ExternalIPAddress).String()), r.SecondsSinceStartOfEpoc
		return nil
	})
	return a, epoch, err
}

var errPMPOther = errors.New("an answer to another request")

// add makes or renews a mapping; with no lifetime it deletes it, for which the suggested port must be zero.
func (c natPMP) add(ctx context.Context, internal, suggested uint16, lifetime time.Duration) (g grant, epoch uint32, err error) {
	err = c.try(ctx, func(client *natpmp.Client) error {
		r, err := client.AddPortMappingWithDuration("udp", int(internal), int(suggested), lifetime)
		if err != nil {
			return err
		}
		if r.InternalPort != internal {
			return errPMPOther
		}
		epoch = r.SecondsSinceStartOfEpoc
		g = grant{
			protocol: NATPMP, internal: internal, external: netip.AddrPortFrom(netip.Addr{}, r.MappedExternalPort),
			lifetime: min(time.Duration(r.PortMappingLifetimeInSeconds)*time.Second, maxLifetime),
		}
		return nil
	})
	if err == nil && lifetime > 0 && (g.external.Port() == 0 || g.lifetime == 0) {
		err = &fault{spoken: true, words: "the gateway granted a mapping without a port or a lifetime"}
	}
	return g, epoch, err
}
