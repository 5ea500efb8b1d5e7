package relayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/relay"
)

// metrics is the web server that Prometheus reads.
type metrics struct {
	listener net.Listener
	server   *http.Server
}

func newMetrics(ctx context.Context, c Config, d *daemon) (*metrics, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w: choose another address with --metrics", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return &metrics{
		listener: listener,
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       5 * time.Minute,
			MaxHeaderBytes:    8 << 10,
		},
	}, nil
}

func (m *metrics) addr() string { return m.listener.Addr().String() }

// close gives the address back where run was never called. m may be nil.
func (m *metrics) close() {
	if m != nil {
		_ = m.listener.Close()
	}
}

func (m *metrics) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return m.server.Close()
	})
	return group.Wait()
}

// What is measured. Reasons and outcomes are constants of the program, so no
// series appears for what somebody sends.
var (
	descInfo       = desc("info", "Always 1; the labels say which relay this is.", "version", "key")
	descNetworks   = desc("networks", "Networks that have something here.")
	descNodes      = desc("nodes", "Nodes that have something here.")
	descRegistered = desc("registrations", "Nodes registered for rendezvous.")
	descAllocated  = desc("allocations", "Pairs of nodes that have a relay port.")
	descBound      = desc("allocations_bound", "Of those, pairs both sides of which are bound.")
	descFlows      = desc("flows", "Directions that are forwarded.")
	descPorts      = desc("ports_open", "Relay ports in use.")
	descPackets    = desc("forwarded_datagrams_total", "Datagrams forwarded.")
	descBytes      = desc("forwarded_bytes_total", "Bytes forwarded, UDP payload.")
	descChallenges = desc("challenges_total", "Asks answered with a challenge.")
	descRequests   = desc("requests_total", "Requests by outcome.", "outcome")
	descResets     = desc("resets_total", "Resets sent.")
	descEvicted    = desc("evicted_total", "Allocations and registrations that gave way to others.")
	descExpired    = desc("expired_total", "Allocations and registrations that expired.")
	descDrops      = desc("drops_total", "Datagrams dropped, by where and why.", "part", "reason")
	descSTUN       = desc("stun_answers_total", "STUN requests answered.")
	descDHTNodes   = desc("dht_nodes", "DHT nodes that answer.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("credant_relay_"+name, help, labels, nil)
}

// collector reads the daemon when it is asked.
type collector struct{ d *daemon }

// Describe implements prometheus.Collector: with nothing told, what Collect yields
// is checked as it comes.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// scrapeWithin bounds the wait for a loop that is busy.
const scrapeWithin = 5 * time.Second

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	d := c.d
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	drops := func(part string, by map[string]uint64) {
		for reason, n := range by {
			counter(descDrops, n, part, reason)
		}
	}
	gauge(descInfo, 1, d.version, d.identity.Public().String())
	drops("front", d.drops.snapshot())
	drops("engine", d.refused.snapshot())
	drops("stun", d.fronts.stun.Drops())
	drops("forwarder", d.forwarder.Drops())
	packets, bytes := d.forwarder.Totals()
	counter(descPackets, packets)
	counter(descBytes, bytes)
	counter(descSTUN, d.fronts.stunAnswers.Load())
	if d.dht != nil {
		source := d.dht.source.Load()
		drops("dht", source.Drops())
		gauge(descDHTNodes, float64(source.Status().Nodes))
	}

	var s relay.Stats
	var flows int
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	if !d.inLoop(ctx, func() {
		d.count(time.Now())
		s, flows = d.engine.Stats(), len(d.flows)
	}) {
		return // at the end, or far too busy: what is known is told
	}
	gauge(descNetworks, float64(s.Networks))
	gauge(descNodes, float64(s.Nodes))
	gauge(descRegistered, float64(s.Registrations))
	gauge(descAllocated, float64(s.Allocations))
	gauge(descBound, float64(s.Bound))
	gauge(descFlows, float64(flows))
	gauge(descPorts, float64(s.Ports))
	counter(descChallenges, s.Challenges)
	counter(descRequests, s.Requests, "served")
	for name, n := range s.Refused {
		counter(descRequests, n, name)
	}
	counter(descResets, s.Resets)
	counter(descEvicted, s.Evicted)
	counter(descExpired, s.Expired)
}
