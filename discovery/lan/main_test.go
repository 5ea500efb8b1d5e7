package lan

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// skip skips a test that lacks something, or fails it where nothing may be missing.
func skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_STRICT") != "" {
		t.Fatal("missing: " + missing)
	}
	t.Skip("missing: " + missing)
}
