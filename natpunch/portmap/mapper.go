package portmap

import (
	"context"
	"log/slog"
)

// A Config says what to map and where.
type Config struct {
	Port     func() uint16             // WireGuard's UDP port; zero: none yet
	Gateways func() ([]Gateway, error) // the ways out as they are now
	State    State                     // as last saved
	Save     func(State)               // keeps it; nil: nowhere
	Changed  func()                    // called after Mappings changed; must not block; nil: nobody is told
	Log      *slog.Logger              // nil: slog.Default
}

// A Mapper keeps a port mapping on each gateway.
type Mapper struct{ config Config }

// New returns a Mapper that does nothing before Run.
func New(c Config) *Mapper { return &Mapper{config: c} }

// Run keeps the mappings until ctx ends, then gives them back, for which it takes a second at most.
func (m *Mapper) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// HostChanged says that routes or addresses changed, or WireGuard's port.
func (m *Mapper) HostChanged() {}

// Mappings returns what is mapped now.
func (m *Mapper) Mappings() []Mapping { return nil }

// Status returns what the gateways said last.
func (m *Mapper) Status() Status { return Status{} }

// Probe asks a gateway which protocols it speaks and leaves nothing behind. It takes three seconds at most.
func Probe(ctx context.Context, g Gateway) Report {
	return Report{Gateway: g.Addr, Iface: g.Iface, Local: g.Local}
}
