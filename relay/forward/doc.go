// Package forward is the relay's data path in userspace: what arrives at a relay
// port from the source of a flow leaves, unchanged, to where the flow leads.
//
// Every open port has a UDP socket on each own address for each worker
// (SO_REUSEPORT: the kernel keeps one source at one socket, so order holds). A
// worker is one goroutine with an epoll instance and one set of buffers for all
// its sockets. It reads batches (recvmmsg), with what the kernel merged left
// merged (UDP_GRO), groups them by flow, and sends one train (UDP_SEGMENT) for
// each run of equal sizes, all of them with one sendmmsg. Nothing is allocated
// and no lock is taken on the way.
//
// Only what wire.Forwardable admits passes. Relay frames and datagrams of
// unknown sources go up to Config.Handle, through bounded queues and under a
// rate, so that a flood of them costs forwarding little. The rest is dropped and
// counted.
//
// Datagrams leave without DF, as WireGuard's do; TTL, DSCP and ECN are not copied.
//
// It decides nothing: which ports are open and which flows exist is for package
// relay. Linux 4.18 or newer; without UDP_GRO (5.0) each datagram is read alone.
// Many ports need many descriptors: addresses x workers for each.
//
// All methods may be called by any goroutine. Start at forwarder.go, then
// worker_linux.go and batch_linux.go.
package forward
