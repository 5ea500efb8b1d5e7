// Package control is the node's daemon: it turns what the mesh says (records, paths)
// into what this host should be (a WireGuard device), and keeps repairing the difference.
//
// The other rooms each know one thing and nothing of each other: discovery
// finds who is there, natpunch how a packet gets to them, wgsetup sets the
// host up. Only this package imports them all and translates between them.
//
// mesh is the heart: a state machine that takes datagrams, hints, the device's
// counters and the time, and returns effects. It owns no socket, timer or
// goroutine, so everything that can happen between members is tested without
// any. daemon is the body: it reads the one port (oneport.go), runs the sources
// and monitors under one errgroup, feeds the mesh in a single loop and carries
// its effects out, the device always before the first datagram, because a peer
// that is answered before WireGuard knows it costs five seconds.
//
// A member is met by an exchange of hellos (meeting.go), introduced by another
// one (introduce.go) or found at a relay (relaying.go), learnt (learn.go),
// installed (peer.go), its session started (session.go), followed (follow.go),
// moved to better paths (swaps.go), found again where they fail (recover.go).
// relays.go chooses relays; mapping.go, punch.go, notes.go, uplinks.go and mtu.go each
// serve paths in their way. publish.go signs what others know, addressing.go and subnet.go
// claim addresses, package names and naming.go let nodes be found by name, membership.go and
// leave.go change who is called what and stays, routing.go and routechoice.go lead to
// networks behind nodes, block.go shuts out.
// Run needs CAP_NET_ADMIN and CAP_NET_RAW. Start at Run, then mesh.go.
package control
