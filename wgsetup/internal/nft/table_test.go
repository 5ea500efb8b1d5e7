package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"go.uber.org/goleak"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "credant_test_wg0_purpose"

func chain(ports ...uint16) []Chain {
	c := Chain{Name: "in", Hook: nftables.ChainHookInput, Priority: 7}
	for _, p := range ports {
		c.Rules = append(c.Rules, Concat(MatchUDP(DestinationPort, p), MatchWireGuard(true), Rule{Accept()}))
	}
	return []Chain{c}
}

func openTable(t *testing.T, ns *nstest.NS) *Table {
	t.Helper()
	var table *Table
	ns.Do(func() {
		var err error
		table, err = Open(name, nil)
		nstest.Must(t, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- table.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		nstest.Must(t, table.Close())
	})
	return table
}

func ruleset(ns *nstest.NS) string { return ns.Run("nft", "list", "ruleset") }

func eachKind(t *testing.T, test func(t *testing.T, ns *nstest.NS, table *Table)) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%t", plain), func(t *testing.T) {
			ns := nstest.New(t)
			table := openTable(t, ns)
			nstest.Must(t, table.Set(chain(1)))
			if plain {
				nstest.Must(t, table.WithoutOwner())
			}
			if owned := strings.Contains(ruleset(ns), "flags owner"); owned == plain {
				t.Fatalf("owned: %t", owned)
			}
			test(t, ns, table)
		})
	}
}

func TestSet(t *testing.T) {
	eachKind(t, func(t *testing.T, ns *nstest.NS, table *Table) {
		for _, ports := range [][]uint16{{1001}, {1002, 1003}, {1004}} {
			nstest.Must(t, table.Set(chain(ports...)))
			got := ruleset(ns)
			for p := uint16(1001); p <= 1004; p++ {
				want := p == ports[0] || p == ports[len(ports)-1]
				if there := strings.Contains(got, fmt.Sprintf("dport %d ", p)); there != want {
					t.Errorf("rule for %d there: %t, in\n%s", p, there, got)
				}
			}
			if strings.Count(got, "type filter hook input") != 1 {
				t.Errorf("not one chain:\n%s", got)
			}
		}
		for range 2 {
			nstest.Must(t, table.Set(nil))
			if got := ruleset(ns); got != "" {
				t.Errorf("left:\n%s", got)
			}
		}
		nstest.Must(t, table.Set(chain(1005)))
		if got := ruleset(ns); !strings.Contains(got, "dport 1005 ") {
			t.Errorf("not there again:\n%s", got)
		}
		nstest.Must(t, table.Close())
		nstest.Must(t, table.Close())
		if got := ruleset(ns); got != "" {
			t.Errorf("left after close:\n%s", got)
		}
		if err := table.Set(chain(1)); !errors.Is(err, ErrClosed) {
			t.Errorf("set after close: %v", err)
		}
	})
}

func TestSurvivesFlushRuleset(t *testing.T) {
	eachKind(t, func(t *testing.T, ns *nstest.NS, table *Table) {
		there := func() bool { return strings.Contains(ruleset(ns), "dport 1 ") }
		for range 2 {
			ns.Nft("flush ruleset; table inet reloaded { chain c { type filter hook input priority 0; }; }")
			deadline := time.Now().Add(time.Second)
			for !there() {
				if time.Now().After(deadline) {
					t.Fatal("not there within a second")
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		// A table that is not wanted does not come back.
		nstest.Must(t, table.Set(nil))
		ns.Nft("flush ruleset")
		if there() {
			t.Error("it came back")
		}
	})
}

// What a firewall's reload removes between two calls is no reason to fail.
func TestSetAfterFlushRuleset(t *testing.T) {
	eachKind(t, func(t *testing.T, ns *nstest.NS, table *Table) {
		for range 5 {
			ns.Nft("flush ruleset")
			nstest.Must(t, table.Set(chain(1001)))
			ns.Nft("flush ruleset")
			nstest.Must(t, table.Set(nil))
			nstest.Must(t, table.Set(chain(1)))
		}
	})
}

func TestOpenClearsWhatIsLeft(t *testing.T) {
	ns := nstest.New(t)
	ns.Nft("table inet " + name + " { chain out { type filter hook output priority -310; udp sport 1 drop; }; }")
	openTable(t, ns)
	if got := ruleset(ns); got != "" {
		t.Errorf("left:\n%s", got)
	}
}

func TestTaken(t *testing.T) {
	ns := nstest.New(t)
	nstest.Must(t, openTable(t, ns).Set(chain(1)))
	ns.Do(func() {
		if _, err := Open(name, nil); !errors.Is(err, ErrTaken) {
			t.Errorf("opened twice: %v", err)
		}
	})
}
