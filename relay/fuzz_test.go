package relay

import (
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Whatever comes, to whatever port and as whatever frame, the server stays whole
// and sends nobody who has proved nothing more than came. The first byte says
// what becomes of the rest: as it is, or as the content of a request of a known
// or an unknown session with a good cookie, changed in places.
func FuzzReceive(f *testing.F) {
	f.Add(byte(0), wire.AppendAsk(nil, wire.TransactionID{1}))
	f.Add(byte(1), append([]byte{0xa1, 0x42}, make([]byte, 200)...))
	f.Add(byte(2), []byte{1, 2, 3})
	f.Add(byte(3), []byte{4, 0, 9})
	f.Add(byte(4), wireGuard())
	f.Add(byte(13), []byte{0xff, 5})
	f.Fuzz(func(t *testing.T, how byte, b []byte) {
		w := newWorld(t, 1)
		office := w.network()
		a, other := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
		port := w.connect(a, other)
		at := a.front
		if how&8 != 0 {
			at = a.at(port)
		}
		stranger := addr4(1, 1)
		switch how & 7 {
		case 0:
			w.receive(at, stranger, b)
		case 1:
			w.receive(at, a.addr, b)
		case 2, 3:
			if how&7 == 3 {
				a.newSession()
			}
			if len(b) > 2 {
				a.ask(at)
				data := a.seal(at, requestOf(b, other))
				data[(int(b[0])<<8+int(b[1]))%len(data)] ^= b[2]
				w.receive(at, a.addr, data)
			}
		default:
			w.unknown(at, stranger, b)
		}
		if len(w.flows) != 0 && len(w.flows) != 2 {
			t.Fatalf("%d flows", len(w.flows))
		}
		w.check()
		w.pass(time.Hour)
		w.check()
		if st := w.s.Stats(); st.Nodes+st.Allocations+st.Registrations+st.Networks+st.Ports != 0 {
			t.Fatalf("an hour later there is %+v", st)
		}
	})
}

func requestOf(b []byte, peer *client) wire.Request {
	peers := []keys.NodePublic{peer.node(), {b[1], 1}}
	switch b[0] % 6 {
	case 0:
		return wire.Request{Register: &wire.Register{Blob: b[:min(len(b), wire.MaxBlob)]}}
	case 1:
		return wire.Request{Allocate: &wire.Allocate{Peers: peers}}
	case 2:
		return wire.Request{Bind: &wire.Bind{Peer: peers[b[1]%2]}}
	case 3:
		return wire.Request{Refresh: &wire.Refresh{Have: wire.Have{b[2]}}}
	case 4:
		return wire.Request{Release: &wire.Release{Peers: peers}}
	}
	return wire.Request{Leave: true}
}
