// Package systemd is how a program speaks with the service manager that started
// it: sd_notify(3) with its watchdog, priorities in front of lines that go to the
// journal (sd-daemon(3)), and credentials.
//
// All of it rests on variables of the environment, and does nothing where they
// are not set. Package deploy/service puts services in place.
package systemd
