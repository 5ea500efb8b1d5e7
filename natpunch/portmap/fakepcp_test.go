package portmap

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// A fakeGateway is a router with a will of its own, on an address of the loopback interface. Its fields say how it
// misbehaves; they are set before start, or with the mutex held.
type fakeGateway struct {
	t     testing.TB
	local netip.Addr
	addr  netip.Addr

	mu       sync.Mutex
	external netip.Addr
	booted   time.Time
	mappings map[uint16]*fakeMapping // by internal port, of PCP and NAT-PMP
	log      []string                // what was asked, in short

	noPCP, noNATPMP bool
	silent          bool          // port 5351 drops all
	deaf            bool          // nothing listens there, and the host is told so at once
	versionReply    []byte        // how it refuses PCP; nil: as RFC 6886 says
	result          uint8         // of each PCP request
	pmpResult       uint16        // of each NAT-PMP request
	lifetime        time.Duration // granted; zero: as asked
	strictNonce     bool          // another nonce is refused
	forge           func(response []byte) [][]byte

	igd fakeIGD
}

type fakeMapping struct {
	nonce    [12]byte
	external uint16
	lifetime time.Duration
	made     int
}

// newFakeGateway returns one with a public address that speaks all protocols well.
func newFakeGateway(t testing.TB) *fakeGateway {
	f := &fakeGateway{
		t: t, local: netip.AddrFrom4([4]byte{127, 0, 0, 1}), external: netip.MustParseAddr("5.0.0.2"),
		booted: time.Now().Add(-time.Hour), mappings: map[uint16]*fakeMapping{},
	}
	f.igd.init(f)
	return f
}

func (f *fakeGateway) gateway() Gateway { return Gateway{Iface: "lo", Local: f.local, Addr: f.addr} }

// start listens on PCP's and SSDP's ports of a free loopback address.
func (f *fakeGateway) start() *fakeGateway {
	f.t.Helper()
	for range 20 {
		f.addr = netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
		if f.deaf {
			f.igd.start()
			return f
		}
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.addr, pcp.ServerPort)))
		if err != nil {
			continue
		}
		f.serve(conn, f.answer)
		f.igd.start()
		return f
	}
	f.t.Fatal("no loopback address has PCP's port free")
	return nil
}

// serve answers datagrams until the test ends.
func (f *fakeGateway) serve(conn *net.UDPConn, answer func(b []byte) [][]byte) {
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			for _, reply := range answer(slices.Clone(buf[:n])) {
				_, _ = conn.WriteToUDPAddrPort(reply, from)
			}
		}
	})
	f.t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
}

func (f *fakeGateway) epoch() uint32 { return uint32(time.Since(f.booted) / time.Second) }

func (f *fakeGateway) answer(b []byte) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent || len(b) < 2 {
		return nil
	}
	var reply []byte
	switch {
	case b[0] == 0:
		reply = f.answerNATPMP(b)
	case f.noPCP:
		f.log = append(f.log, "pcp to the deaf")
		if reply = f.versionReply; reply == nil && !f.noNATPMP {
			reply = binary.BigEndian.AppendUint32([]byte{0, 0x80 | b[1], 0, 1}, f.epoch())
		}
	default:
		reply = f.answerPCP(b)
	}
	switch {
	case reply == nil:
		return nil
	case f.forge != nil:
		return f.forge(reply)
	}
	return [][]byte{reply}
}

func (f *fakeGateway) answerPCP(b []byte) []byte {
	if len(b) != 60 || b[1] != 1 {
		f.log = append(f.log, "malformed")
		return nil
	}
	lifetime := time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	internal, external := binary.BigEndian.Uint16(b[40:]), binary.BigEndian.Uint16(b[42:])
	reply := slices.Clone(b)
	reply[1] |= 0x80
	reply[2], reply[3] = 0, f.result
	copy(reply[8:], make([]byte, 16))
	binary.BigEndian.PutUint32(reply[8:], f.epoch())
	m := f.mappings[internal]
	if f.strictNonce && m != nil && m.nonce != [12]byte(b[24:36]) {
		reply[3] = uint8(pcp.NotAuthorized)
	}
	if reply[3] != 0 {
		f.log = append(f.log, "pcp refused")
		binary.BigEndian.PutUint32(reply[4:], 30)
		return reply
	}
	if lifetime == 0 {
		f.log = append(f.log, "pcp delete")
		delete(f.mappings, internal)
		return reply
	}
	f.log = append(f.log, "pcp map")
	if f.lifetime > 0 {
		lifetime = f.lifetime
	}
	if external == 0 {
		external = internal
	}
	if m == nil {
		m = &fakeMapping{external: external}
		f.mappings[internal] = m
	}
	m.nonce, m.lifetime, m.made = [12]byte(b[24:36]), lifetime, m.made+1
	binary.BigEndian.PutUint32(reply[4:], uint32(lifetime/time.Second))
	binary.BigEndian.PutUint16(reply[42:], m.external)
	a := f.external.As16()
	copy(reply[44:], a[:])
	return reply
}

func (f *fakeGateway) answerNATPMP(b []byte) []byte {
	if f.noNATPMP {
		if f.noPCP {
			return nil
		}
		// RFC 6887, Section 9: a server without version 0 says which it has.
		reply := make([]byte, 24)
		reply[0], reply[1], reply[3] = 2, 0x80|b[1], 1
		return reply
	}
	reply := []byte{0, 0x80 | b[1], byte(f.pmpResult >> 8), byte(f.pmpResult)}
	reply = binary.BigEndian.AppendUint32(reply, f.epoch())
	if b[1] == 0 {
		a := f.external.As4()
		return append(reply, a[:]...)
	}
	internal, external := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	lifetime := time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Second
	// Refused or not, real gateways repeat ports and lifetime.
	if f.pmpResult == 0 {
		if lifetime == 0 {
			f.log = append(f.log, "nat-pmp delete")
			delete(f.mappings, internal)
		} else {
			f.log = append(f.log, "nat-pmp map")
			if f.lifetime > 0 {
				lifetime = f.lifetime
			}
			m := f.mappings[internal]
			if m == nil {
				m = &fakeMapping{external: external}
				f.mappings[internal] = m
			}
			m.lifetime, m.made = lifetime, m.made+1
			external = m.external
		}
	} else {
		f.log = append(f.log, "nat-pmp refused")
	}
	reply = binary.BigEndian.AppendUint16(reply, internal)
	reply = binary.BigEndian.AppendUint16(reply, external)
	return binary.BigEndian.AppendUint32(reply, uint32(lifetime/time.Second))
}

// change does something to the gateway while it runs.
func (f *fakeGateway) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// mapped returns what is mapped to a port by PCP or NAT-PMP.
func (f *fakeGateway) mapped(internal uint16) (fakeMapping, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.mappings[internal]; m != nil {
		return *m, true
	}
	return fakeMapping{}, false
}
