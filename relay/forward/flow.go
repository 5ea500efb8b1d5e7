package forward

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/relay"
)

// key is a relay.FlowKey as a worker finds it: without pointers and quick to
// compare.
type key struct {
	hi, lo uint64 // source address, IPv4 mapped
	rest   uint64 // source port, own port, index of the own address
}

func newKey(source netip.AddrPort, own *local) key {
	a := source.Addr().As16()
	return key{
		hi:   binary.BigEndian.Uint64(a[:8]),
		lo:   binary.BigEndian.Uint64(a[8:]),
		rest: own.keyBits | uint64(source.Port()),
	}
}

// keyBits is the part of a key that is the same for all that arrives at one own
// address, by its index, and port.
func keyBits(index int, port uint16) uint64 { return uint64(index)<<32 | uint64(port)<<16 }

// keyOf is newKey for an address that the kernel wrote.
func keyOf(name *unix.RawSockaddrInet6, own *local) key {
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return key{
			lo:   0xffff<<32 | uint64(binary.BigEndian.Uint32(v4.Addr[:])),
			rest: own.keyBits | uint64(hostOrder(v4.Port)),
		}
	}
	return key{
		hi:   binary.BigEndian.Uint64(name.Addr[:8]),
		lo:   binary.BigEndian.Uint64(name.Addr[8:]),
		rest: own.keyBits | uint64(hostOrder(name.Port)),
	}
}

// addrPort is the address that the kernel wrote.
func addrPort(name *unix.RawSockaddrInet6) netip.AddrPort {
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), hostOrder(v4.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), hostOrder(name.Port))
}

func hostOrder(port uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&port))[:])
}

// A hasher spreads keys with secrets of its own, as those who send choose their
// addresses.
type hasher [3]uint64

func newHasher() (h hasher) {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range h {
		h[i] = binary.NativeEndian.Uint64(b[8*i:]) | 1
	}
	return h
}

func (h *hasher) hash(k key) uint64 {
	a, b := bits.Mul64(k.hi^h[0], k.lo^h[1])
	a, b = bits.Mul64(a^b^h[2], k.rest^h[0])
	return a ^ b
}

// A flow is what is kept for a key. Where it leads may change under the workers.
type flow struct {
	key    relay.FlowKey
	target atomic.Pointer[target]
	// Since Counters last asked.
	packets, bytes atomic.Uint64
}

// A target is where a flow leads.
type target struct {
	out     *local
	to      unix.RawSockaddrInet6 // or an Inet4 in its first bytes
	toSize  uint32
	buckets []*relay.Bucket
	// noTrains is until when (the worker's clock) the kernel is not offered
	// trains for this destination, because it refused one.
	noTrains atomic.Int64
}

func newTarget(f relay.Flow, out *local) (*target, error) {
	t := &target{out: out, buckets: f.Buckets}
	to := f.To.Addr()
	if !to.IsValid() || to.Is4() != out.addr.Addr().Is4() || f.To.Port() == 0 {
		return nil, fmt.Errorf("install flow %v: cannot send from %v to %v", f.FlowKey, f.From, f.To)
	}
	if to.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&t.to))
		v4.Family, v4.Addr, v4.Port = unix.AF_INET, to.As4(), hostOrder(f.To.Port())
		t.toSize = unix.SizeofSockaddrInet4
	} else {
		t.to.Family, t.to.Addr, t.to.Port = unix.AF_INET6, to.As16(), hostOrder(f.To.Port())
		t.toSize = unix.SizeofSockaddrInet6
	}
	return t, nil
}
