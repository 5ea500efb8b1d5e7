// Package strict keeps skipped tests from hiding rot: where CREDANT_TEST_STRICT is set, as in CI, a skip is a failure.
package strict

import (
	"os"
	"testing"
)

// Skip skips the test and names what is missing, or fails it under CREDANT_TEST_STRICT.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CREDANT_TEST_STRICT") != "" {
		t.Fatal("a test that CREDANT_TEST_STRICT requires cannot run: " + missing)
	}
	t.Skip(missing)
}
