package main

import "net"

// notifier tells systemd how far the relay is (sd_notify(3)). The zero value
// tells nobody.
type notifier struct{ socket string }

func newNotifier(socket string) notifier { return notifier{socket} }

// send tells it once. Whether it was heard makes no difference to the relay.
func (n notifier) send(state string) {
	if n.socket == "" {
		return
	}
	// Go writes the leading @ of an abstract socket as the zero byte it stands for.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
