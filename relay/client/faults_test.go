package client

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/relay/wire"
)

// With a tenth, a third of all datagrams lost and the rest out of order, pairs
// come about, stay, and are told of truly.
func TestLossAndReordering(t *testing.T) {
	for _, server := range []string{"model", "engine"} {
		for _, loss := range []float64{0.1, 0.3} {
			for seed := range uint64(3) {
				t.Run(fmt.Sprintf("%s/loss=%v/seed=%d", server, loss, seed), func(t *testing.T) {
					w := newWorld(t, seed)
					if server == "engine" {
						w.runEngine()
					}
					w.loss, w.jitter = loss, 60*time.Millisecond
					hosts := []*host{w.add(main4, main6), w.add(main4), w.add(main6)}
					for i, h := range hosts {
						h.client.SetBlob(w.now, []byte{byte(i + 1)})
						h.setPeers(hosts...)
					}
					all := func() bool {
						for _, h := range hosts {
							if !h.client.Status().Registered || len(h.client.registration.found) != 2 {
								return false
							}
							for _, o := range hosts {
								if o != h && !h.ready(o) {
									return false
								}
							}
						}
						return true
					}
					limit := 30 * time.Second
					if loss > 0.2 {
						limit = 90 * time.Second
					}
					w.until(limit, "all know each other and are bound", all)
					w.run(5 * time.Minute)
					w.loss = 0
					w.until(90*time.Second, "all know each other and are bound again", all)
				})
			}
		}
	}
}

// Whatever happens, in whatever order: when it stops, everything that is wanted
// is there again.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.jitter = 30 * time.Millisecond
			real := seed%2 == 1
			if real {
				w.runEngine()
			}
			hosts := []*host{w.add(main4, main6), w.add(main4), w.add(main6), w.add(main6, main4)}
			wanted := map[*host]map[*host]bool{}
			blob := map[*host]string{}
			random := func() *host { return hosts[w.rng.IntN(len(hosts))] }
			for i, h := range hosts {
				blob[h] = fmt.Sprint(i)
				h.client.SetBlob(w.now, []byte(blob[h]))
				wanted[h] = map[*host]bool{}
			}
			for range 60 {
				h := random()
				switch w.rng.IntN(12) {
				case 0:
					blob[h] = fmt.Sprint(w.rng.Uint32())
					h.client.SetBlob(w.now, []byte(blob[h]))
				case 1:
					blob[h] = ""
					h.client.SetBlob(w.now, nil)
				case 2, 3, 4:
					for o := range wanted {
						wanted[h][o] = o != h && w.rng.IntN(3) > 0
					}
					var peers []*host
					for o, want := range wanted[h] {
						if want {
							peers = append(peers, o)
						}
					}
					h.setPeers(peers...)
				case 5:
					h.port++
				case 6:
					h.port++
					h.client.Recheck(w.now)
				case 7:
					w.dead[main6.Addr()] = !w.dead[main6.Addr()]
				case 8:
					if !real {
						w.relay.restart()
					} else if w.rng.IntN(2) == 0 {
						w.runEngine()
					}
				case 9:
					h.mute = !h.mute
				case 10:
					w.loss = []float64{0, 0.1, 0.5, 1}[w.rng.IntN(4)]
				}
				w.run(time.Duration(w.rng.Int64N(int64(time.Minute))))
			}
			w.loss, w.dead = 0, map[netip.Addr]bool{}
			for _, h := range hosts {
				h.mute = false
			}
			w.run(5 * time.Minute)
			for i, h := range hosts {
				s := h.client.Status()
				if s.State != StateUp || s.Registered != (blob[h] != "") {
					t.Errorf("host %d: %+v", i+1, s)
				}
				want := 0
				for _, o := range hosts {
					if o != h && blob[o] != "" {
						want++
					}
					if wanted[h][o] && wanted[o][h] && !h.ready(o) {
						t.Errorf("host %d is not ready for %s: %+v", i+1, o.name, s)
					}
				}
				if blob[h] != "" && len(h.client.registration.found) < want {
					t.Errorf("host %d knows %d others, want %d", i+1, len(h.client.registration.found), want)
				}
			}
		})
	}
}

// What the relay refuses is asked for again when it says, and not before.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		e    wire.Error
		want time.Duration
	}{
		{wire.Error{Code: wire.CodeQuota, RetryAfter: 20 * time.Second}, 20 * time.Second},
		{wire.Error{Code: wire.CodeQuota, RetryAfter: time.Hour}, maxRetry},
		{wire.Error{Code: wire.CodeQuota}, 5 * time.Second},
		{wire.Error{Code: wire.CodeForbidden, Text: "not here"}, maxRetry},
		{wire.Error{Code: 200}, 5 * time.Second},
	} {
		for _, op := range []string{"register", "allocate", "bind"} {
			w := newWorld(t, 1)
			a, b := w.add(main4), w.add(main4)
			w.relay.refuse[op] = &tt.e
			a.client.SetBlob(w.now, []byte("a"))
			a.setPeers(b)
			w.run(tt.want / 4)
			a.client.SetBlob(w.now, []byte("another")) // does not make the refusal forgotten
			w.run(tt.want / 4)
			if s := a.client.Status(); s.LastError == "" || s.State != StateUp {
				t.Errorf("%s: %+v: %+v", op, tt.e, s)
			}
			if n := w.relay.requests[op]; n != 1 {
				t.Errorf("%s: %+v: asked %d times", op, tt.e, n)
			}
			delete(w.relay.refuse, op)
			w.run(tt.want/2 + 15*time.Second) // an allocation has run out meanwhile
			s := a.client.Status()
			if !s.Registered || !s.Allocations[0].Bound || len(told[Down](a)) != 0 {
				t.Errorf("%s: %+v: %+v", op, tt.e, s)
			}
		}
	}
}

// One kind of request that is never answered costs ever less, and the rest goes
// on.
func TestDeaf(t *testing.T) {
	for _, op := range []string{"register", "allocate", "bind"} {
		w := newWorld(t, 1)
		a, b := w.add(main4), w.add(main4)
		w.relay.deaf[op] = true
		a.client.SetBlob(w.now, []byte("a"))
		a.setPeers(b)
		w.run(time.Minute)
		a.forget()
		w.run(10 * time.Minute)
		if n := a.kinds(); n[wire.KindAsk]+n[wire.KindRequest] > 200 {
			t.Errorf("%s: sent %v in ten minutes", op, n)
		}
		s := a.client.Status()
		if s.State != StateUp || s.LastError == "" || (op != "register") != s.Registered || (op == "register") != s.Allocations[0].Bound {
			t.Errorf("%s: %+v", op, s)
		}
		w.relay.deaf[op] = false
		w.until(2*time.Minute, op, func() bool {
			s := a.client.Status()
			return s.Registered && s.Allocations[0].Bound
		})
	}
}

// A relay port behind a closed firewall is told, and not asked for ever.
func TestClosedPorts(t *testing.T) {
	w := newWorld(t, 1)
	server := w.server
	w.server = func(at, from netip.AddrPort, b []byte) {
		if at.Port() == 3478 {
			server(at, from, b)
		}
	}
	a, b := w.add(main4), w.add(main4)
	a.setPeers(b)
	w.run(time.Minute)
	a.forget()
	w.run(10 * time.Minute)
	s := a.client.Status()
	if s.LastError != "port 20000 of the relay does not answer: is it open in its firewall?" || s.State != StateUp || s.Allocations[0].Bound {
		t.Errorf("%+v", s)
	}
	if n := len(a.sent); n > 120 {
		t.Errorf("%d datagrams in ten minutes", n)
	}
}

func TestBlobTooLong(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(main4)
	a.client.SetBlob(w.now, make([]byte, wire.MaxBlob))
	w.run(time.Second)
	if !a.client.Status().Registered {
		t.Errorf("%+v", a.client.Status())
	}
	a.client.SetBlob(w.now, make([]byte, wire.MaxBlob+1))
	w.run(time.Second)
	if s := a.client.Status(); s.Registered || s.LastError == "" {
		t.Errorf("%+v", s)
	}
}
