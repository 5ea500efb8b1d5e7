// Package names decides by which labels nodes are found on this host: their names,
// their extra names, and what tells two nodes of one name apart.
//
// Names are first come: whoever this host knew first under one keeps it for as
// long as it asks for it and its record lives, whatever others ask for later.
// That differs between hosts only where two nodes took one name before anybody
// knew both, and it is said. What nobody can take is an id, and a label with the
// beginning of one, which users were told.
//
// A Table is a state machine without a clock, a file or a socket: Review is told
// who asks for what. Package control tells it, keeps what Held returns over
// restarts, and package dns answers by it. It is not safe for concurrent use.
// Start at Review.
package names
