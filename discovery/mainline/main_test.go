package mainline

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what should come soon, on a machine that has much else to do.
const patience = time.Minute

func TestMain(m *testing.M) {
	if defect := os.Getenv("MAINLINE_TEST_DEFECT"); defect != "" {
		showDefect(defect) // in a process that is expected to die
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// skip skips a test that lacks something, or fails it where nothing may be missing.
func skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_STRICT") != "" {
		t.Fatal("missing: " + missing)
	}
	t.Skip("missing: " + missing)
}
