package hostdns

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeHostsForEver(path)
	}
	goleak.VerifyTestMain(m)
}
