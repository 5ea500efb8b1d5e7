package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	newNotifier(path).send("READY=1")
	b := make([]byte, 100)
	n, err := systemd.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("systemd heard %q, %v", b[:n], err)
	}
	// Without systemd, or with one that is gone, nothing happens.
	newNotifier("").send("READY=1")
	newNotifier(path + ".gone").send("READY=1")
}
