package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
	relaywire "github.com/credant/credant/relay/wire"
	"github.com/credant/credant/wgsetup"
	"golang.org/x/sync/errgroup"
)

// ErrDetach as the cause of a context's end makes Run leave the device, its
// routes and addresses behind, for the next Run to adopt.
var ErrDetach = errors.New("detach")

// errDown is the cause when the local API was asked to take the network down.
var errDown = errors.New("taken down")

// Run is the daemon of one network. It calls ready once the interface is up
// and the local API answers, and returns when ctx ends or something fails that
// cannot be repaired. Afterwards the host is as it was before, unless the
// context's cause is ErrDetach.
func Run(ctx context.Context, c Config, ready func()) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	network, err := LoadKey(c.StateDir, c.Network)
	if err != nil {
		return err
	}
	listener, err := localapi.Listen(c.Socket)
	if err != nil {
		return err
	}
	d, err := newDaemon(ctx, c, network)
	if err != nil {
		listener.Close()
		return err
	}
	return d.run(ctx, listener, ready)
}

// daemon owns the mesh and the device, and carries the effects of the one over
// to the other.
type daemon struct {
	config   Config
	log      *slog.Logger
	started  time.Time
	device   *wgsetup.Device
	port     *onePort
	mesh     *mesh
	cache    *cacheFile
	memory   memory
	own      ownNames
	heap     heapPace
	resident residence // of the kernel backend
	sources  sources
	events   *eventLog
	drops    *drops
	notices  []string // about the start, said once and shown for good
	seek     seek
	board    *noteBoard // nil without the DHT
	puncher  puncher
	mapping  portMapping
	check    natCheck
	naming   *naming
	hosts    []netip.Prefix
	sleep    sleep
	woken    chan struct{} // the wall clock has jumped

	supervision supervision

	hints chan hint
	views chan view
	calls chan func() // run in the loop, for the local API
	saves chan discovery.Cache
	stop  context.CancelCauseFunc
}

// view is where a DHT node sees this node, or where several agree that it is.
type view struct {
	by, addr      netip.AddrPort
	agreed, moved bool
}

type hint struct {
	source discovery.Source
	addr   netip.AddrPort
	relay  relayHint // with sourceRelay
}

// relayHint says what kind of relay is at an address.
type relayHint struct {
	class relayClass
	key   relaywire.ServerPublic // zero: whoever answers
}

// sourceSTUN and sourceRelay mark the address of a server, which is no member's.
const (
	sourceSTUN  discovery.Source = "stun"
	sourceRelay discovery.Source = "relay"
)

// hintQueue bounds the hints that wait for the loop.
const hintQueue = 256

// run starts everything and takes it down again.
func (d *daemon) run(ctx context.Context, listener net.Listener, ready func()) (err error) {
	outer := ctx
	ctx, d.stop = context.WithCancelCause(context.WithoutCancel(outer))
	defer d.stop(nil)
	defer func() {
		end := d.device.Remove
		if errors.Is(context.Cause(ctx), ErrDetach) {
			end = d.device.Detach
		}
		err = errors.Join(err, end())
		if errors.Is(context.Cause(ctx), errLeft) {
			err = errors.Join(err, DeleteState(d.config.StateDir, d.config.Network))
		}
		d.log.Info("network is down", "network", d.config.Network, "why", context.Cause(ctx))
		listener.Close() // last: whoever waits for the end watches the socket
	}()
	if err := d.begin(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	task := func(name string, run func(context.Context) error) {
		group.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	task("end", func(ctx context.Context) error { return d.takeLeave(ctx, outer) })
	task("one port", d.port.Run)
	task("device", d.device.Run)
	task("loop", d.loop)
	task("cache", d.saver)
	task("name server", d.naming.server.Run)
	task("host's resolver", d.pointHost)
	task("sources", d.watchSources)
	task("sleep", d.watchSleep)
	task("local API", func(ctx context.Context) error { return localapi.Serve(ctx, listener, d) })
	if d.sources.dht != nil {
		task("DHT", d.sources.dht.Run)
		task("lost relays", d.findLost)
		task("notes", d.board.Run)
	}
	if d.sources.lan != nil {
		task("LAN", d.sources.lan.Run)
	}
	if d.mapping.mapper != nil {
		task("port mapping", d.mapping.mapper.Run)
	}
	if d.check.runner != nil {
		task("NAT behaviour", d.check.runner.Run)
	}
	if d.sources.static != nil {
		task("static addresses", d.sources.static.Run)
	}
	for _, s := range d.sources.relays {
		task("relays", s.Run)
	}
	if d.sources.stun != nil {
		task("STUN servers", d.sources.stun.Run)
	}
	context.AfterFunc(ctx, func() { _ = d.port.side.(net.PacketConn).Close() })
	if ready != nil {
		ready()
	}
	d.log.Info("network is up", "network", d.config.Network, "iface", d.device.Name(), "backend", string(d.device.Backend()), "port", d.device.Port())
	return group.Wait()
}

// begin brings the device up before anybody is told.
func (d *daemon) begin(ctx context.Context) error {
	now, wall := time.Now(), time.Now()
	hosts, err := wgsetup.HostAddresses()
	if err != nil {
		return err
	}
	adopted, err := d.device.Peers()
	if err != nil {
		return err
	}
	for _, m := range d.cache.cache.Members {
		d.mesh.recall(now, wall, m.Signed, d.cache.cache.AgeAt(wall, m), m.Addr, adopted)
	}
	d.uplinksChanged()
	d.mesh.hostChanged(now, hosts)
	d.puncher.adopt(now, d.mesh, d.device.Kept())
	d.hostRoutes()
	d.mesh.reviewRoutes(now)
	if _, err := d.device.Apply(ctx, d.mesh.desired()); err != nil {
		return err
	}
	for _, addr := range d.cache.addresses() {
		d.mesh.hint(now, discovery.SourceCache, addr)
	}
	d.perform(ctx, d.mesh.advance(now, wall))
	return nil
}

// cacheSave is how often the cache is written while nothing else asks for it.
const cacheSave = 5 * time.Minute

// loop is the only place where the mesh is touched after the start.
func (d *daemon) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	saved := time.Now()
	defer d.puncher.end()
	for {
		select {
		case <-ctx.Done():
			d.cache.save(d.remembered(time.Now()), d.log)
			return nil
		case p := <-d.port.inbox:
			d.mesh.receive(time.Now(), time.Now(), p)
			d.port.release(p.data)
		case h := <-d.hints:
			switch h.source {
			case sourceSTUN:
				d.mesh.addSTUN(h.addr)
			case sourceRelay:
				d.mesh.addRelay(time.Now(), h.relay.class, h.relay.key, h.addr)
			default:
				d.mesh.hint(time.Now(), h.source, h.addr)
			}
		case v := <-d.views:
			if v.agreed {
				d.mesh.located(time.Now(), v.addr, v.moved)
			} else {
				d.mesh.seenBy(time.Now(), v.by, v.addr)
			}
		case f := <-d.calls:
			f()
		case e := <-d.device.ICMPErrors():
			d.icmp(e)
		case s := <-d.check.results:
			d.mesh.natMeasured(time.Now(), s)
		case <-d.mapping.changed:
			d.mappingsChanged()
		case <-d.woken:
			d.checkSleep(time.Now())
		case <-d.device.Changes():
			d.hostChanged()
		case <-timer.C:
		}
		now := time.Now()
		if e := d.mesh.advance(now, now); e.look {
			d.perform(ctx, e)
			d.look(now)
			d.perform(ctx, d.mesh.advance(now, now))
		} else {
			d.perform(ctx, e)
		}
		d.seekRelays(now)
		d.serversChanged()
		if now.Sub(saved) >= cacheSave {
			saved = now
			d.saveCache(now)
		}
		d.supervise(now)
		timer.Reset(max(0, d.nextSupervision(time.Until(d.mesh.next(now)))))
	}
}

func (d *daemon) hostChanged() {
	hosts, err := wgsetup.HostAddresses()
	if err != nil {
		d.log.Warn("read the host's addresses", "err", err)
		return
	}
	d.uplinksChanged()
	d.hostRoutes()
	d.mesh.hostChanged(time.Now(), hosts)
	if !slices.Equal(hosts, d.hosts) || d.mesh.notices["clash"] != "" { // a route may have gone
		d.mesh.clashReviewed(time.Now())
	}
	if !slices.Equal(hosts, d.hosts) {
		d.hosts = hosts
		if d.check.runner != nil {
			d.check.runner.HostChanged()
		}
	}
	if d.mapping.mapper != nil { // a route may have changed
		d.mapping.mapper.HostChanged()
	}
}

func (d *daemon) uplinksChanged() {
	all, err := wgsetup.Uplinks()
	d.warn("list the ways out", err)
	if err == nil {
		d.mesh.uplinksChanged(time.Now(), all)
	}
}

func (d *daemon) look(now time.Time) {
	states, err := d.device.Peers()
	if err != nil {
		d.log.Debug("look at the device", "err", err)
		return
	}
	d.checkSleep(now)
	d.mesh.looked(now, now, states)
	d.heap.look(now, states).apply()
	if d.device.Backend() == wgsetup.Kernel {
		if err := d.resident.look(now); err != nil {
			d.log.Debug("release memory", "err", err)
		}
	}
}

// perform carries out what the mesh wants done, the device first.
func (d *daemon) perform(ctx context.Context, e effects) {
	if e.apply {
		steps, err := d.device.Apply(ctx, d.mesh.desired())
		for _, s := range steps {
			d.log.Debug("applied", "step", s.String())
		}
		d.warn("set the host up", err)
	}
	for _, a := range e.punch {
		d.puncher.do(ctx, a, d.mesh.agent)
	}
	d.warn("steer the device", e.steer(d.device, d.send))
	if e.kick {
		d.sources.kick()
	}
	if d.board != nil {
		d.board.want(e.notes, d.mesh.blob)
	}
	if e.names {
		d.serveNames()
	}
	if e.pins {
		d.pinRoutes()
	}
	if e.remember {
		d.remember()
		if d.mapping.mapper != nil {
			d.outsideSeen()
		}
		d.saveCache(time.Now())
	}
	for _, ev := range e.events {
		d.supervision.changed = true
		d.log.Info("mesh", "event", ev.Kind, "peer", ev.Peer, "text", ev.Text)
		d.events.add(ev)
	}
}

// foundNote hands a note to the loop.
func (d *daemon) foundNote(ctx context.Context, note []byte) {
	select {
	case d.calls <- func() { d.mesh.noted(time.Now(), time.Now(), note) }:
	case <-ctx.Done():
	}
}

func (d *daemon) warn(what string, err error) {
	if err != nil {
		d.log.Warn(what, "err", err)
	}
}

// remember writes down what the next start likes to know.
func (d *daemon) remember() {
	m := memory{
		Port: d.device.Port(), Interface: d.device.Name(),
		Subnet: d.mesh.subnet.claimed, Sequence: d.mesh.publisher.sequence,
	}
	if own := d.mesh.addressing.own4(); len(own) > 0 {
		m.Address4, m.Settled4 = own[0].addr, own[0].settled
	} else {
		m.Address4, m.Settled4 = d.memory.Address4, d.memory.Settled4
	}
	for _, c := range d.mesh.addressing.own {
		if c.settled {
			m.Settled = append(m.Settled, c.addr)
		}
	}
	if m.equal(d.memory) {
		return
	}
	d.memory = m
	if err := m.save(d.config.StateDir, d.config.Network); err != nil {
		d.log.Warn("remember port and address", "err", err)
	}
}
