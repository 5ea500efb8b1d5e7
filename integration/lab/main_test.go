package lab

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credant/credant/integration/strict"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(mapperEnv); task != "" {
		if err := runMapper(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// build builds a lab for one test.
func build(t *testing.T, l *Lab) {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	if err := l.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// patience is how long is waited for what takes far less, unless the machine is busy.
const patience = time.Minute

// within bounds a test's wait for something that takes far less, by twice patience at least: it may be many things.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), max(d, 2*patience))
	t.Cleanup(cancel)
	return ctx
}
