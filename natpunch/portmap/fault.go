package portmap

import (
	"errors"
	"time"
)

// A fault is why a protocol gave no mapping, in words for people.
type fault struct {
	spoken bool          // the gateway answered
	wait   time.Duration // it wants to be left alone so long
	words  string
}

func (f *fault) Error() string { return f.words }

// spoke tells whether the gateway answered, be it with a refusal.
func spoke(err error) bool {
	var f *fault
	return err == nil || errors.As(err, &f) && f.spoken
}

// leaveAlone returns for how long a gateway asked not to be asked again.
func leaveAlone(err error) time.Duration {
	var f *fault
	if errors.As(err, &f) {
		return f.wait
	}
	return 0
}

var errSilent = &fault{words: "no answer"}
