package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrSilent says that the guest hangs: it neither writes to its console nor says, as it does every 5 s, that it lives.
var ErrSilent = errors.New("the guest hangs")

// signs takes what tells that something lives, whatever it says.
type signs struct{ seen chan struct{} }

func (s signs) Write(b []byte) (int, error) {
	select {
	case s.seen <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Silence is how long a guest that works may show no sign of life, on a host that is busy.
const Silence = 3 * time.Minute

// AwaitSilence returns a context that ends, with ErrSilent, once nothing was written to the writer for so long. stop is
// to be called.
func AwaitSilence(outer context.Context, limit time.Duration) (ctx context.Context, alive io.Writer, stop func()) {
	ctx, cancel := context.WithCancelCause(outer)
	s := signs{make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-s.seen:
			case <-time.After(limit):
				cancel(fmt.Errorf("%w: no sign of life for %v", ErrSilent, limit))
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, s, func() {
		cancel(nil)
		<-ended
	}
}
