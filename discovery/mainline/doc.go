// Package mainline finds addresses where members may answer on the BitTorrent
// mainline DHT: it announces this host under the network's infohashes and asks,
// again and again, who else did. It looks for relays too, and for a relay it
// announces alone, keeps an item stored and serves others.
//
// Everything it yields is a hint that anyone can plant. Judging addresses is left
// to package discovery, sockets to control, which hands in one net.PacketConn a
// family that carries only datagrams that begin with 'd'.
//
// Follows BEP 5, BEP 32 (one server a family), BEP 43 (read-only unless it serves),
// BEP 42 (the id of who serves) and BEP 44 (signed items). It departs from common
// clients: it announces to a node as soon as that is among the closest known, then
// asks only those, at a pace that falls from half of them each second to two a minute.
//
// KRPC is spoken by github.com/anacrolix/dht/v2, which one datagram can crash. Guard
// stands between it and the network, and says with each rule for which defect it is.
// Queries never reach it: a responder of ours answers them, within bounds.
//
// It needs no privileges. A Source's methods may be called from any goroutine;
// the functions in Config are called from Run's. Start reading at lookup.go, a state
// machine without I/O, then family.go, which drives it; for serving at responder.go.
package mainline
