package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Stream is numbered UDP datagrams that one node sends another at a steady rate, to find out which never arrive.
type Stream struct {
	out, in  *net.UDPConn
	interval time.Duration
	began    time.Time
	stop     chan struct{}
	done     sync.WaitGroup

	mu      sync.Mutex
	sent    []time.Duration // when each was, from the start
	sendErr error
	arrived map[uint32]bool
}

const (
	// streamSize is the payload of a Stream's datagram, in bytes: that of a voice packet, about.
	streamSize = 100
	// streamHaste is what a sender that the machine kept waiting makes good. More would come as a burst, which fills
	// queues that a steady stream never fills.
	streamHaste = 50 * time.Millisecond
	// streamBuffer is room for what comes while the machine keeps the receiver waiting, in bytes.
	streamBuffer = 8 << 20
)

// StartStream begins to send perSecond datagrams a second between two addresses of the nodes.
func StartStream(from *Node, source netip.Addr, to *Node, target netip.Addr, perSecond int) (*Stream, error) {
	s := &Stream{interval: time.Second / time.Duration(perSecond), stop: make(chan struct{}), arrived: make(map[uint32]bool)}
	var err error
	if s.in, err = to.ListenUDP(netip.AddrPortFrom(target, 0)); err != nil {
		return nil, fmt.Errorf("open the end of a stream on %s: %w", to.Name, err)
	}
	if s.out, err = from.ListenUDP(netip.AddrPortFrom(source, 0)); err != nil {
		s.in.Close()
		return nil, fmt.Errorf("open the start of a stream on %s: %w", from.Name, err)
	}
	if err := enlarge(s.in); err != nil {
		s.in.Close()
		s.out.Close()
		return nil, fmt.Errorf("make room at the end of a stream on %s: %w", to.Name, err)
	}
	s.began = time.Now()
	s.done.Add(2)
	go s.send(s.in.LocalAddr().(*net.UDPAddr).AddrPort())
	go s.receive()
	return s, nil
}

// enlarge gives a socket room for more than the system's limit.
func enlarge(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, streamBuffer)
	})
	return errors.Join(err, set)
}

func (s *Stream) send(to netip.AddrPort) {
	defer s.done.Done()
	b := make([]byte, streamSize)
	next := time.Duration(0)
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return
		case <-time.After(next - s.Elapsed()):
		}
		now := s.Elapsed()
		next = max(next, now-streamHaste) + s.interval
		binary.BigEndian.PutUint32(b, uint32(i))
		_, err := s.out.WriteToUDPAddrPort(b, to)
		s.mu.Lock()
		s.sent = append(s.sent, now)
		if err != nil && s.sendErr == nil {
			s.sendErr = fmt.Errorf("send datagram %d: %w", i, err)
		}
		s.mu.Unlock()
	}
}

func (s *Stream) receive() {
	defer s.done.Done()
	b := make([]byte, streamSize+1)
	for {
		n, err := s.in.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != streamSize {
			continue
		}
		s.mu.Lock()
		s.arrived[binary.BigEndian.Uint32(b)] = true
		s.mu.Unlock()
	}
}

// A Gap is datagrams in a row that never arrived.
type Gap struct {
	First, Last int
	At          time.Duration // when the first was sent, from the stream's start
	Until       time.Duration // when the one after the last was due
}

// String returns the gap in words.
func (g Gap) String() string {
	return fmt.Sprintf("%d datagrams from %v on", g.Last-g.First+1, g.At.Round(time.Millisecond))
}

// Stop ends the stream and gives what is on its way another second. It returns how many were sent and what is missing.
func (s *Stream) Stop() (sent int, gaps []Gap, err error) {
	close(s.stop)
	_ = s.in.SetReadDeadline(time.Now().Add(time.Second))
	s.done.Wait()
	s.in.Close()
	s.out.Close()
	for i := range s.sent {
		if s.arrived[uint32(i)] {
			continue
		}
		if n := len(gaps); n == 0 || gaps[n-1].Last != i-1 {
			gaps = append(gaps, Gap{First: i, At: s.sent[i]})
		}
		last := &gaps[len(gaps)-1]
		last.Last, last.Until = i, s.sent[i]+s.interval
	}
	return len(s.sent), gaps, s.sendErr
}

// Lost is how many datagrams the gaps hold.
func Lost(gaps []Gap) (n int) {
	for _, g := range gaps {
		n += g.Last - g.First + 1
	}
	return n
}

// Elapsed is how long the stream has been running.
func (s *Stream) Elapsed() time.Duration { return time.Since(s.began) }
