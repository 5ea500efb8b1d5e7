package scenario

import (
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// Two that know nobody but the DHT, one of them behind a NAT that takes another port for each destination, hear nothing
// of each other at first: notes in the DHT tell them of each other and when to punch.
func TestNotesInTheDHT(t *testing.T) {
	t.Parallel() // most of it is waiting
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.PortRestricted.HidePort()).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	dht := w.addDHT()
	w.build()
	w.startDHT(dht)
	w.flags = append(w.flags, "--no-stun", "--no-port-mapping")
	a.up()
	b.up()
	_, took := a.reach(b, 5*time.Minute) // a punch that meets no port comes again after a minute
	p, _ := a.peer(b)
	t.Logf("reached %s at %s after %v", p.Path, p.Endpoint, took.Round(time.Millisecond))
	if p.Path != "direct" {
		t.Errorf("the path is %s, want direct", p.Path)
	}
}
