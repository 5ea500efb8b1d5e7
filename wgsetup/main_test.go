package wgsetup

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Variables that make this binary something else than a test.
const (
	checkEnv  = "CREDANT_TEST_CHECK"  // print what Check says of a backend
	daemonEnv = "CREDANT_TEST_DAEMON" // open a kernel device with this private key, and wait
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(checkEnv) != "":
		fmt.Print(Check(Backend(os.Getenv(checkEnv))))
		os.Exit(0)
	case os.Getenv(daemonEnv) != "":
		if err := daemon(os.Getenv(daemonEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func daemon(key string) error {
	private, err := wgtypes.ParseKey(key)
	if err != nil {
		return err
	}
	d, err := Open(context.Background(), Config{Network: "test", Backend: Kernel, PrivateKey: private})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return d.Run(context.Background())
}

// startDaemon runs a process in ns that has a device of network "test", and
// returns what kills it as a crash does.
func startDaemon(t *testing.T, ns *nstest.NS, key wgtypes.Key) (kill func()) {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), daemonEnv+"="+key.String())
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	nstest.Must(t, err)
	ns.Do(func() { nstest.Must(t, c.Start()) })
	killed := false
	kill = func() {
		if !killed {
			killed = true
			nstest.Must(t, c.Process.Kill())
			_ = c.Wait() // "signal: killed"
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("daemon said %q: %v", line, err)
	}
	return kill
}
