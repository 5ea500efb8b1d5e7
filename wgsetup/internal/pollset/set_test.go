package pollset

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func fdOf(t *testing.T, c *net.UDPConn) (fd int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(f uintptr) { fd = int(f) }))
	return fd
}

// A blocked Wait wakes for each socket that gets something, time and again, for
// none that was taken out, and when the set is closed.
func TestWait(t *testing.T) {
	s, err := New()
	must(t, err)
	var conns []*net.UDPConn
	for i := range 40 {
		c := listen(t)
		must(t, s.Add(fdOf(t, c), uint32(1000+i)))
		conns = append(conns, c)
	}
	woken := make(chan []uint32)
	failed := make(chan error, 1)
	go func() {
		for {
			ids, err := s.Wait(nil)
			if err != nil {
				failed <- err
				return
			}
			woken <- ids
			<-woken // until what was told is read
		}
	}()
	sender := listen(t)
	expect := func(i int) {
		t.Helper()
		_, err := sender.WriteTo([]byte{1}, conns[i].LocalAddr())
		must(t, err)
		if ids := <-woken; !slices.Equal(ids, []uint32{uint32(1000 + i)}) {
			t.Errorf("%v for %d", ids, i)
		}
		_, _, err = conns[i].ReadFrom(make([]byte, 9))
		must(t, err)
		woken <- nil
	}
	for _, i := range []int{0, 39, 7, 7, 7} {
		expect(i)
	}
	must(t, s.Remove(fdOf(t, conns[7])))
	must(t, conns[8].Close())
	_, err = sender.WriteTo([]byte{1}, conns[7].LocalAddr())
	must(t, err)
	expect(9)
	// One that was readable before it came tells so, too.
	must(t, s.Add(fdOf(t, conns[7]), 5))
	if ids := <-woken; !slices.Equal(ids, []uint32{5}) {
		t.Errorf("%v", ids)
	}
	must(t, s.Remove(fdOf(t, conns[7])))
	woken <- nil
	must(t, s.Close())
	if err := <-failed; !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Add(fdOf(t, conns[0]), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("add after Close: %v", err)
	}
}

// More sockets than one Wait tells are told by the next ones.
func TestWaitForMany(t *testing.T) {
	s, err := New()
	must(t, err)
	defer s.Close()
	sender := listen(t)
	conns := map[uint32]*net.UDPConn{}
	for i := range uint32(3 * batch) {
		conns[i] = listen(t)
		must(t, s.Add(fdOf(t, conns[i]), i))
		_, err := sender.WriteTo([]byte{1}, conns[i].LocalAddr())
		must(t, err)
	}
	for len(conns) > 0 {
		ids, err := s.Wait(nil)
		must(t, err)
		for _, id := range ids {
			if conns[id] == nil {
				t.Fatalf("%d again, though it was read", id)
			}
			_, _, err := conns[id].ReadFrom(make([]byte, 9))
			must(t, err)
			delete(conns, id)
		}
	}
}
