// Package icmp reads the ICMP errors that the kernel queues on a UDP socket
// with IP_RECVERR: what became of datagrams that left from its port.
//
// RFC 1122, Section 4.1.3.3 has them reported; the kernel does so by failing
// the socket's next call, whatever that is about. A caller that From tells of
// such an error drains the queue and calls again.
//
// Anybody on the way can forge an ICMP error: it is a hint. Linux only, no
// privileges. A Queue may be used by several goroutines at once.
package icmp
