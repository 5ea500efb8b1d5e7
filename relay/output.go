package relay

import "net/netip"

// Output is something a Server wants done: a Send, an OpenPort, a ClosePort, an
// Install or a Remove. Outputs are to be carried out in the order given.
type Output interface{ output() }

// Send asks for one datagram to be sent from an address and port of the relay's
// own: the front port, or a port that is open.
type Send struct {
	From, To netip.AddrPort
	Data     []byte
}

// OpenPort asks to receive at a relay port, on every address of the relay. Where
// that is not possible the caller says so with PortFailed.
type OpenPort struct{ Port uint16 }

// ClosePort says that nobody uses the port any more. All its flows have been
// removed before.
type ClosePort struct{ Port uint16 }

// Install asks to forward a flow. It replaces the one that has the same key.
type Install struct{ Flow }

// Remove asks to forward that flow no longer.
type Remove struct{ FlowKey }

func (Send) output()      {}
func (OpenPort) output()  {}
func (ClosePort) output() {}
func (Install) output()   {}
func (Remove) output()    {}
