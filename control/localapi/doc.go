// Package localapi is how a person's commands talk to the daemon of one
// network on this host: HTTP/1.1 with JSON over a unix socket.
//
//	GET  /v1/status            Status
//	GET  /v1/ping?node=N       PingReply of one echo through the tunnel
//	GET  /v1/events            a stream of Event, one JSON value a line
//	POST /v1/rename?name=N     gives this node another name
//	POST /v1/dns/add?name=N    gives this node an extra name
//	POST /v1/dns/remove?name=N takes an extra name away
//	POST /v1/forget?node=N     Forgotten, a node that is gone
//	POST /v1/block?node=N      BlockedNode that is shut out from now on
//	POST /v1/unblock?node=N    BlockedNode that is let in again
//	POST /v1/leave             Left: leaves for good and ends the daemon
//	POST /v1/down              takes the network down and ends the daemon
//
// Errors come as {"error": "..."} with a status of 400 or above; the text is
// meant for the person who typed the command.
//
// The socket has mode 0660 and belongs to root:credant where that group
// exists. Whoever may connect may read; only uid 0 may change anything, which
// the server takes from SO_PEERCRED and not from anything the client says.
//
// The package imports no other room: control fills in the values, cmd/credant
// prints them. Field names of the JSON are stable; fields are only ever added.
package localapi
