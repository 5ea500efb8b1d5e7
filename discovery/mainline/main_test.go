package mainline

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

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
