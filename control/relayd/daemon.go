package relayd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/relay"
	"github.com/credant/credant/relay/forward"
	"github.com/credant/credant/relay/wire"
)

// Run is the relay daemon. It calls ready once everybody is answered, and again
// when that is at other addresses, and returns when ctx has ended and the grace time is over, or when something fails
// that cannot be repaired. It may be called once with a Config.
func Run(ctx context.Context, c Config, ready func(Info)) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	d, err := newDaemon(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // asked to end before there was anything to do
	case err != nil:
		return err
	}
	return d.run(ctx, ready)
}

// daemon owns the engine, and carries out what it wants done.
type daemon struct {
	config   Config // of the loop, once that runs: settings can be reread
	version  string
	stateDir string
	log      *slog.Logger
	identity wire.ServerPrivate
	watch    *hostWatch // nil: the addresses are given
	locals   []netip.Addr
	told     []netip.Addr // of locals, what nodes are told of
	outer    []netip.Addr // what --advertise names
	info     Info
	ready    func(Info)

	engine    *relay.Server
	forwarder *forward.Forwarder
	fronts    *fronts
	inbox     *inbox
	announced *announced
	dht       *dhtNode // nil: switched off
	metrics   *metrics // nil: switched off
	drops     *drops   // of the front ports, and of what finds the loop busy
	refused   *drops   // by the engine

	flows   map[relay.FlowKey]struct{} // installed
	counted time.Time                  // when the forwarder's counters were read last
	calls   chan func()                // run in the loop
}

func newDaemon(ctx context.Context, c Config) (_ *daemon, err error) {
	d := &daemon{
		config: c, version: c.Version, stateDir: c.StateDir, log: c.Log,
		locals: c.Listen, told: c.Listen, drops: newDrops(), refused: newDrops(),
		flows: make(map[relay.FlowKey]struct{}), calls: make(chan func()),
	}
	if d.identity, d.info.NewKey, err = loadKey(c.StateDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.watch.close()
		}
	}()
	if c.Listen == nil {
		// Before the first look, so that no change is missed after it.
		if d.watch, err = newHostWatch(); err != nil {
			return nil, err
		}
		found, err := findAddresses(ctx, c.Log)
		if err != nil {
			return nil, err
		}
		d.locals, d.told, d.info.Unused = found.serve, found.tell, found.left
	}
	d.inbox = newInbox(d.drops)
	if d.fronts, err = openFronts(ctx, c, d.locals, d.inbox, d.drops); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.fronts.close()
			d.metrics.close()
		}
	}()
	if c.Metrics != "" {
		if d.metrics, err = newMetrics(ctx, c, d); err != nil {
			return nil, err
		}
	}
	d.forwarder = forward.New(forward.Config{Addrs: d.locals, Handle: d.inbox.handle, Log: c.Log})
	d.outer = advertised(ctx, c)
	d.engine = relay.New(c.engine(d.identity, outerAddresses(d.outer, d.told)))
	d.fillInfo()
	d.announced = newAnnounced(d.identity, c, d.info.Give)
	if !c.NoDHT {
		d.dht = newDHTNode(c, d.fronts, d.announced, d.locals, d.located)
	}
	return d, nil
}

func (d *daemon) fillInfo() {
	key := d.identity.Public()
	d.info.Key, d.info.Addresses = key, d.locals
	d.info.Give, d.info.Private = give(d.config, key, d.told)
	d.info.Port, d.info.STUNPort, d.info.Ports = d.config.Port, d.config.STUNPort, d.config.Ports
	d.info.Networks = len(d.config.Allow)
	if d.metrics != nil {
		d.info.Metrics = d.metrics.addr()
	}
}

// errEnded is how the loop says that the grace time is over.
var errEnded = errors.New("ended")

// run starts everything. What ctx ends is only the giving out of new things:
// sockets and forwarding stay for the grace time.
func (d *daemon) run(ctx context.Context, ready func(Info)) error {
	d.ready = ready
	group, work := errgroup.WithContext(context.WithoutCancel(ctx))
	task := func(name string, run func(context.Context) error) {
		group.Go(func() error {
			if err := run(work); err != nil && work.Err() == nil {
				if errors.Is(err, errEnded) {
					return err
				}
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	task("forwarder", d.forwarder.Run)
	task("front ports", d.fronts.Run)
	task("loop", func(work context.Context) error { return d.loop(ctx, work) })
	if d.dht != nil {
		task("DHT", d.dht.run)
	}
	if d.metrics != nil {
		task("metrics", d.metrics.run)
	}
	d.log.Info("relay is up", "relay", d.info.Give[0].String(), "addresses", join(d.locals, " "), "ports", d.config.Ports.String(), "serves", servedWords(len(d.config.Allow)))
	if ready != nil {
		ready(d.info)
	}
	if d.watch != nil { // not before others have read what it changes
		task("watch", d.watch.run)
		task("addresses", d.followAddresses)
	}
	err := group.Wait()
	d.watch.close()
	d.log.Info("relay is down")
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// countEvery is how often the engine is told what flows have carried. Idle
// allocations live for minutes.
const countEvery = 5 * time.Second

// reopened is how many relay ports are open after the start. Allocations take the
// lowest port that is free for both nodes, so those of an earlier life were here.
const reopened = 32

// loop is the only place where the engine is touched after the start. It ends
// with errEnded when ctx has ended and the grace time is over.
func (d *daemon) loop(ctx, work context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := ctx.Done()
	d.engine.Reopen(time.Now(), reopened)
	var end <-chan time.Time
	for {
		select {
		case <-work.Done():
			return nil
		case <-asked:
			asked = nil
			d.log.Info("leaving", "grace", d.config.Grace.String())
			d.engine.Leave(time.Now(), d.config.Grace)
			end = time.After(d.config.Grace)
		case <-end:
			return errEnded
		case in := <-d.inbox.queue:
			d.receive(time.Now(), in)
		case f := <-d.calls:
			f()
		case next := <-d.config.Reloads:
			d.reload(time.Now(), next)
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(d.counted) >= countEvery {
			d.count(now)
		}
		d.perform(now)
		timer.Reset(d.pause(now))
	}
}

// pause is how long the loop may wait for an event.
func (d *daemon) pause(now time.Time) time.Duration {
	next := d.counted.Add(countEvery)
	if t, ok := d.engine.Next(); ok && t.Before(next) {
		next = t
	}
	return max(0, next.Sub(now))
}

func (d *daemon) receive(now time.Time, in datagram) {
	if wire.IsRelay(in.data) {
		d.refused.count(d.engine.Receive(now, in.at, in.from, in.data))
	} else {
		d.engine.Unknown(now, in.at, in.from, in.data)
	}
	d.inbox.release(in.data)
}

func (d *daemon) count(now time.Time) {
	d.counted = now
	d.forwarder.Counters(func(k relay.FlowKey, packets, bytes uint64) {
		d.engine.Counted(now, k, packets, bytes)
	})
}

// perform carries out what the engine wants done, until it wants nothing more.
func (d *daemon) perform(now time.Time) {
	for {
		outputs := d.engine.Advance(now)
		if len(outputs) == 0 {
			return
		}
		for _, o := range outputs {
			d.carryOut(now, o)
		}
	}
}

func (d *daemon) carryOut(now time.Time, o relay.Output) {
	switch o := o.(type) {
	case relay.Send:
		send := d.forwarder.Send
		if o.From.Port() == d.config.Port {
			send = d.fronts.send
		}
		if err := send(o.From, o.To, o.Data); err != nil {
			d.drops.count("send-failed")
		}
	case relay.OpenPort:
		if err := d.forwarder.Open(o.Port); err != nil {
			d.log.Warn("open relay port", "port", o.Port, "err", err)
			d.engine.PortFailed(now, o.Port)
		}
	case relay.ClosePort:
		d.forwarder.Close(o.Port)
	case relay.Install:
		if err := d.forwarder.Install(o.Flow); err != nil {
			d.log.Warn("forward", "err", err) // the pair binds again when nothing passes
			return
		}
		d.flows[o.FlowKey] = struct{}{}
	case relay.Remove:
		d.forwarder.Remove(o.FlowKey)
		delete(d.flows, o.FlowKey)
	}
}

// inLoop runs f in the loop, and is false where that ends first.
func (d *daemon) inLoop(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case d.calls <- func() { defer close(done); f() }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}

// located takes where DHT nodes agree that this host is.
func (d *daemon) located(addr netip.AddrPort) {
	if d.announced.seenAt(addr) {
		seen := wire.ServerAddress{Host: addr.Addr().String(), Port: addr.Port(), Key: d.identity.Public()}
		d.log.Info("seen from the internet", "relay", seen.String())
	}
}
