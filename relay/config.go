package relay

import (
	"io"
	"net/netip"

	"github.com/credant/credant/discovery/keys"
)

// Config is what a Server is and whom it serves.
type Config struct {
	// Ports are the relay ports, none of which is a front port. The zero value
	// is DefaultPorts.
	Ports PortRange
	// Fronts are the ports at which the relay listens besides Ports: nothing that
	// claims to come from one of them at an own address is answered. The zero
	// value is 3478 and 3479.
	Fronts []uint16
	// Locals are the addresses of the relay, by which clients reach it: one or two
	// a family. They are told to those who register.
	Locals []netip.Addr
	// Allow names the networks that are served, within Member. Where it is empty
	// everybody is, within Stranger.
	Allow []keys.NetworkID
	// Stranger and Member are the quotas of the two classes. Fields that are zero
	// mean DefaultStranger and DefaultMember.
	Stranger, Member Quota
	// Rand is where secrets come from; nil is crypto/rand.
	Rand io.Reader
}
