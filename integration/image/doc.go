// Package image boots a real Debian in QEMU: systemd as process 1, systemd-resolved, D-Bus and cloud-init, with Debian's
// stock kernel, on a disk that it may write to and that is thrown away. What package vm is for one command, this is for
// what needs a machine: services, a reboot, a first boot by cloud-init.
//
// The script build makes the disk, once, in the cache; integration/deps calls it. One boot takes about half a minute of
// emulation, so many tests share one:
//
//	m := image.Boot(t, image.Config{})            // ends with the test; image.Start is for TestMain
//	m.Put(t, binary, "/usr/bin/credant")           // from the host
//	out := m.Do(t, `systemctl start credant@home`) // fails the test unless it exits with 0
//	r, err := m.Run(ctx, `dig +short nas`)         // output and exit code; several may run at once
//	m.Reboot(ctx)                                  // the disk stays
//
// A script runs as root in bash, outside of any login or service, with a copy of no environment but the machine's. On a
// failed test the console and the journal are logged. The guest has no network but its loopback, or an interface eth0 on
// the LAN of a lab's router (Config.LAN), where nodes of the lab are its neighbours.
//
// Everything takes five to fifteen times as long as outside: wait for conditions with wide limits, keep packet rates at
// 200/s. The guest's clock is its own. Needs root, amd64, and what integration/deps puts in place. Start at machine.go.
package image
