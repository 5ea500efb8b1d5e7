package control

import "testing"

// The program runs on after its pages were given back.
func TestReleaseProgram(t *testing.T) {
	for range 3 {
		if err := releaseProgram(); err != nil {
			t.Fatal(err)
		}
		TestNodeNames(t)
	}
}
