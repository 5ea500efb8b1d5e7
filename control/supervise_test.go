package control

import (
	"testing"
	"time"
)

func TestSupervise(t *testing.T) {
	var alive int
	var said []string
	d := &daemon{mesh: &mesh{}, config: Config{Supervisor: Supervisor{
		Every:   time.Minute,
		Alive:   func() { alive++ },
		Summary: func(s string) { said = append(said, s) },
	}}}
	start := time.Now()
	for i := range 10 { // the loop wakes up every 15 seconds
		d.supervise(start.Add(time.Duration(i) * 15 * time.Second))
	}
	if alive != 3 {
		t.Errorf("heard %d times in 135 s", alive)
	}
	if len(said) != 1 || said[0] != "no other node found yet" {
		t.Errorf("said %q", said)
	}
	d.supervision.changed = true
	d.supervise(start.Add(time.Hour))
	if len(said) != 1 {
		t.Errorf("said again what has not changed: %q", said)
	}

	d.supervision.told = time.Now()
	if got := d.nextSupervision(time.Hour); got > time.Minute || got < 50*time.Second {
		t.Errorf("the loop may sleep %v, with %v left", got, time.Minute)
	}
	if got := d.nextSupervision(time.Second); got != time.Second {
		t.Errorf("a sleep of a second became %v", got)
	}
	d.config.Supervisor = Supervisor{}
	if got := d.nextSupervision(time.Hour); got != time.Hour {
		t.Errorf("unwatched, a sleep of an hour became %v", got)
	}
	d.supervision.changed = true
	d.supervise(start.Add(2 * time.Hour)) // nobody to tell
}
