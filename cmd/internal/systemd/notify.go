package systemd

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier tells systemd how far the program is (sd_notify(3)). The zero value
// tells nobody.
type Notifier struct{ socket string }

// NewNotifier takes the value of NOTIFY_SOCKET, which may be empty.
func NewNotifier(socket string) Notifier { return Notifier{socket} }

// Listens tells whether there is anybody to tell.
func (n Notifier) Listens() bool { return n.socket != "" }

// What a manager that is busy may hold the program up: shortly, for there will be
// other news; but it waits for READY=1, which is said once, and ends a program
// from which that does not come.
const (
	patience      = 2 * time.Second
	readyPatience = time.Minute
)

// Ready tells it once that the program has started.
func (n Notifier) Ready(more ...string) {
	n.send(strings.Join(append([]string{"READY=1"}, more...), "\n"), readyPatience)
}

// Send tells it lines such as WATCHDOG=1. Whether it was heard makes no
// difference to the program.
func (n Notifier) Send(state string) { n.send(state, patience) }

func (n Notifier) send(state string, patience time.Duration) {
	if n.socket == "" {
		return
	}
	// Go writes the leading @ of an abstract socket as the zero byte it stands for.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	_, _ = c.Write([]byte(state))
}

// Status tells what a person sees in "systemctl status". It is one line.
func (n Notifier) Status(text string) {
	n.Send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog is how often the manager wants to hear WATCHDOG=1, or 0 for never:
// half of what it waits, as sd_watchdog_enabled(3) advises.
func Watchdog(getenv func(string) string) time.Duration {
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for another process, whose environment this one has
	}
	return time.Duration(usec) * time.Microsecond / 2
}
