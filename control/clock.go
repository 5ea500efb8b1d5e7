package control

import (
	"fmt"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// The DHT's rendezvous changes with the day, so a clock that is far off hides
// a node from it. No message is judged by the clock; it is only looked at to
// tell the user.

const clockTolerance = 2 * time.Hour

// madeAfter is a time that no right clock can be before.
var madeAfter = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clockOpinion is what the members' records say of the time. Their sequence
// numbers start at the Unix milliseconds of their signing.
type clockOpinion struct {
	agree, differ int
	other         time.Time // what the latest that differs says
	by            string
}

func (c *clockOpinion) heard(wall time.Time, r wire.Record, age time.Duration) {
	theirs := time.UnixMilli(int64(min(r.Seq, 1<<62))).Add(age)
	// A record may have been signed up to publishAgain ago.
	if d := wall.Sub(theirs); d > -clockTolerance && d < publishAgain+clockTolerance {
		c.agree++
		return
	}
	c.differ++
	c.other, c.by = theirs, r.Name
}

// notice is a sentence for the user, or nothing where the clock looks right.
func (c *clockOpinion) notice(wall time.Time) string {
	switch {
	case wall.Before(madeAfter):
		return fmt.Sprintf("the clock looks wrong (%s): the DHT needs the right day; set it, for example with \"timedatectl set-ntp true\"", wall.UTC().Format(time.DateOnly))
	case c.differ > c.agree:
		return fmt.Sprintf("the clock looks wrong: here it is %s, %s has %s; the DHT needs the right day: set it, for example with \"timedatectl set-ntp true\"",
			wall.UTC().Format(time.DateTime), c.by, c.other.UTC().Format(time.DateTime))
	}
	return ""
}
