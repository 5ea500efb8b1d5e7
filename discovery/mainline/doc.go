// Package mainline finds addresses where members may answer on the BitTorrent
// mainline DHT: it announces this host under the network's infohashes and asks,
// again and again, who else did.
//
// Everything it yields is a hint that anyone can plant. Judging addresses is left
// to package discovery, sockets to control, which hands in one net.PacketConn a
// family that carries only datagrams that begin with 'd'.
//
// Follows BEP 5 (announce with implied port, get_peers), BEP 32 (one server a
// family) and BEP 43 (read-only: it answers nobody). It departs from common
// clients in three things: it announces to a node as soon as that node is among
// the closest known, before the lookup ends; it then asks only those closest
// nodes, at a pace that falls from half of them each second to two a minute; and it
// keeps no routing table warm.
//
// KRPC is spoken by github.com/anacrolix/dht/v2, which one datagram can crash.
// Guard stands between it and the network, and says with each rule which defect
// the rule is for.
//
// It needs no privileges. A Source's methods may be called from any goroutine;
// Config.Found is called from Run's. Start reading at lookup.go, a state machine
// without I/O, then family.go, which drives it.
package mainline
