package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/natpunch/portmap"
)

// portMapping asks gateways to let others in.
type portMapping struct {
	mapper    *portmap.Mapper // nil: switched off
	changed   chan struct{}
	seen      atomic.Pointer[[]netip.Addr]     // where others see this node
	published atomic.Pointer[[]netip.AddrPort] // where gateways let others in
}

func (d *daemon) mappingsChanged() {
	d.mesh.mappedAt(d.mapping.mapper.Mappings())
	at := slices.Clone(d.mesh.publisher.mapped)
	d.mapping.published.Store(&at)
}

// mappedAt takes the addresses at which gateways forward to this node.
func (m *mesh) mappedAt(mappings []portmap.Mapping) {
	var at []netip.AddrPort
	for _, x := range mappings {
		if !x.Nested && !x.Pinhole && isGlobal(x.External.Addr()) && !slices.Contains(at, x.External) {
			at = append(at, x.External)
		}
	}
	slices.SortFunc(at, netip.AddrPort.Compare)
	if slices.Equal(at, m.publisher.mapped) {
		return
	}
	for _, a := range at {
		if !slices.Contains(m.publisher.mapped, a) {
			m.event("nat", "", "the router forwards "+a.String()+" to this node", false)
		}
	}
	m.publisher.mapped, m.publisher.dirty = at, true
	m.out.kick = true // the DHT names another port from now on
}

// forwarded is the IPv4 port at which a gateway lets others in; zero: none.
func (d *daemon) forwarded() uint16 {
	if at := d.mapping.published.Load(); at != nil {
		for _, a := range *at {
			if a.Addr().Is4() {
				return a.Port()
			}
		}
	}
	return 0
}

// mappingFile keeps what was agreed with gateways over a restart. What cannot be
// read is asked for anew.
type mappingFile struct {
	path string
	log  *slog.Logger
}

func openMappings(stateDir, network string, log *slog.Logger) mappingFile {
	return mappingFile{filepath.Join(networkDir(stateDir, network), "mappings.json"), log}
}

func (f mappingFile) load() (s portmap.State) {
	b, err := os.ReadFile(f.path)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("read what was agreed with gateways", "err", err)
		return portmap.State{}
	}
	return s
}

func (f mappingFile) save(s portmap.State) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = replaceFile(f.path, append(b, '\n'))
	}
	if err != nil {
		f.log.Warn("remember what was agreed with gateways", "err", err)
	}
}

// newMapper asks the gateways of this host for the node's port.
func (d *daemon) newMapper() *portmap.Mapper {
	kept := openMappings(d.config.StateDir, d.config.Network, d.log)
	return portmap.New(portmap.Config{
		Port:     d.device.Port,
		Gateways: gateways,
		State:    kept.load(),
		Save:     kept.save,
		Changed:  func() { notify(d.mapping.changed) },
		Leave:    func(cause error) bool { return errors.Is(cause, ErrDetach) }, // the tunnel goes on
		Seen: func() []netip.Addr {
			if seen := d.mapping.seen.Load(); seen != nil {
				return *seen
			}
			return nil
		},
		Log: d.log,
	})
}

// outsideSeen tells the mapper where others see this node: a mapping anywhere else is
// under another NAT.
func (d *daemon) outsideSeen() {
	var seen []netip.Addr
	for _, s := range d.mesh.publisher.reflexive {
		if a := s.addr.Addr(); isGlobal(a) && !slices.Contains(seen, a) {
			seen = append(seen, a)
		}
	}
	slices.SortFunc(seen, netip.Addr.Compare)
	if before := d.mapping.seen.Load(); before == nil || !slices.Equal(*before, seen) {
		d.mapping.seen.Store(&seen)
		notify(d.mapping.changed) // a mapping may be worth something else now
	}
}

// statusMapping says what each gateway does for this node.
func (d *daemon) statusMapping() *localapi.PortMapping {
	if d.mapping.mapper == nil {
		return nil
	}
	out := localapi.PortMapping{Mappings: []localapi.Mapping{}}
	for _, x := range d.mapping.mapper.Mappings() {
		mapping := localapi.Mapping{Protocol: string(x.Protocol), Gateway: x.Gateway.String(), Usable: !x.Nested, Pinhole: x.Pinhole}
		if x.External.IsValid() {
			mapping.External = x.External.String()
		}
		out.Mappings = append(out.Mappings, mapping)
	}
	out.Detail = mappingDetail(out.Mappings, d.mapping.mapper.Status())
	return &out
}

// mappingDetail is one sentence about the mappings.
func mappingDetail(all []localapi.Mapping, s portmap.Status) string {
	nested := false
	for _, x := range all {
		switch {
		case x.Usable && x.Pinhole:
			return fmt.Sprintf("the router lets %s in (%s)", x.External, x.Protocol)
		case x.Usable:
			return fmt.Sprintf("the router forwards %s to this node (%s)", x.External, x.Protocol)
		}
		nested = true
	}
	if nested {
		return "the router forwards a port, but has no public address itself: another NAT is above it"
	}
	var spoken, why []string
	for _, g := range s.Gateways {
		for _, p := range g.Protocols {
			if p.Spoken {
				spoken = append(spoken, string(p.Protocol))
				if p.Error != "" {
					why = append(why, p.Error)
				}
			}
		}
	}
	switch {
	case len(s.Gateways) == 0:
		return ""
	case len(spoken) == 0:
		return "the router offers no port mapping (PCP, NAT-PMP, UPnP)"
	case len(why) > 0:
		return "the router maps no port: " + why[0]
	default:
		return "asking the router for a port (" + strings.Join(spoken, ", ") + ")"
	}
}
