// Package relayd is the relay daemon: it joins the relay's engine, its
// forwarder, a STUN server and a serving DHT node to one process on a host that
// the internet can reach.
//
// Each address of the host has one front port, shared by relay frames, STUN and
// DHT, which front.go tells apart by their first bytes, and a second port that
// only STUN uses. Relay ports belong to the forwarder. One loop (daemon.go) owns
// the engine: what the sockets and the forwarder's workers read comes to it
// through one bounded queue, and what does not fit is dropped and counted.
//
// key.go keeps the relay's identity, addresses.go finds out where to serve and
// move.go follows the host when that changes, dht.go and announce.go are the DHT,
// metrics.go what Prometheus reads, reload.go what changes without a restart,
// info.go what a person is told.
//
// It needs no privileges for ports above 1023. Start reading at Run.
package relayd
