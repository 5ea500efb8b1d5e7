package discovery

import "time"

// Source says who named an address or a record.
type Source string

// The sources, by the names that status and drop counters print.
const (
	SourceCache      Source = "cache"
	SourceLAN        Source = "lan"
	SourceDHT        Source = "dht"
	SourceStatic     Source = "static"
	SourceRendezvous Source = "rendezvous"
	SourceGossip     Source = "gossip"
	// SourceHello is the source of a member that came by itself: it said hello
	// before anything pointed to it.
	SourceHello Source = "hello"
)

// State is what a source is doing, in the word that status shows.
type State string

// The states of a source. The zero State means that nobody asked for it.
const (
	StateOff      State = "off"      // switched off by the user
	StateStarting State = "starting" // no answer yet, and too early to worry
	StateWorking  State = "working"  // what it depends on answers
	StateWaiting  State = "waiting"  // nothing to work with: no address, no interface
	StateFailing  State = "failing"  // tried, and tried again; LastError says why
)

// SourceStatus is what one source tells about itself. Zero numbers and times
// mean "none yet".
type SourceStatus struct {
	State State `json:"state"`
	// Detail is one short phrase for a person, such as "polling each second".
	Detail string `json:"detail,omitempty"`
	// Nodes counts what the source leans on: DHT nodes in the routing tables,
	// interfaces that carry LAN beacons, addresses to resolve.
	Nodes int `json:"nodes,omitempty"`
	// Found counts the addresses it has yielded since the start, repeats not
	// counted where the source can tell.
	Found int `json:"found"`
	// LastFound is when it last yielded one.
	LastFound time.Time `json:"last_found,omitzero"`
	// LastError is the latest error, kept until the source works again.
	LastError string `json:"last_error,omitempty"`
}
