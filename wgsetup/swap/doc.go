// Package swap moves a WireGuard peer from one path to another without losing
// a packet.
//
// WireGuard sends to where the last authenticated packet came from, so one
// that was still on its way over the old path undoes a new endpoint. While a
// swap lasts, the old path's source is therefore rewritten to the new one's
// (Redirects), or, where the host cannot do that, the endpoint is set again and
// again until nothing comes over the old path any more. Then the peer has to
// be heard over the new path, else the endpoint goes back.
//
// A Swap is pure: its caller installs redirects, sets endpoints and looks at
// the peer when Next says so. Both sides of a pair are expected to swap at
// about the same time, one that does not follows by itself if there is
// traffic. A Swap is for one goroutine. Start reading at Advance.
package swap
