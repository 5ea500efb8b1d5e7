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
)

// A Stream is numbered UDP datagrams that one node sends another at a steady rate, to find out which never arrive.
type Stream struct {
	out, in  *net.UDPConn
	interval time.Duration
	began    time.Time
	stop     chan struct{}
	done     sync.WaitGroup

	mu      sync.Mutex
	sent    int
	sendErr error
	arrived map[uint32]time.Time
}

// streamSize is the payload of a Stream's datagram, in bytes: that of a voice packet, about.
const streamSize = 100

// StartStream begins to send perSecond datagrams a second between two addresses of the nodes.
func StartStream(from *Node, source netip.Addr, to *Node, target netip.Addr, perSecond int) (*Stream, error) {
	s := &Stream{interval: time.Second / time.Duration(perSecond), stop: make(chan struct{}), arrived: make(map[uint32]time.Time)}
	var err error
	if s.in, err = to.ListenUDP(netip.AddrPortFrom(target, 0)); err != nil {
		return nil, fmt.Errorf("open the end of a stream on %s: %w", to.Name, err)
	}
	if s.out, err = from.ListenUDP(netip.AddrPortFrom(source, 0)); err != nil {
		s.in.Close()
		return nil, fmt.Errorf("open the start of a stream on %s: %w", from.Name, err)
	}
	s.began = time.Now()
	s.done.Add(2)
	go s.send(s.in.LocalAddr().(*net.UDPAddr).AddrPort())
	go s.receive()
	return s, nil
}

func (s *Stream) send(to netip.AddrPort) {
	defer s.done.Done()
	b := make([]byte, streamSize)
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return
		case <-time.After(time.Until(s.began.Add(time.Duration(i) * s.interval))):
		}
		binary.BigEndian.PutUint32(b, uint32(i))
		_, err := s.out.WriteToUDPAddrPort(b, to)
		s.mu.Lock()
		s.sent = i + 1
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
		s.arrived[binary.BigEndian.Uint32(b)] = time.Now()
		s.mu.Unlock()
	}
}

// A Gap is datagrams in a row that never arrived.
type Gap struct {
	First, Last int
	At          time.Duration // when the first was sent, from the stream's start
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
		if _, ok := s.arrived[uint32(i)]; ok {
			continue
		}
		if n := len(gaps); n > 0 && gaps[n-1].Last == i-1 {
			gaps[n-1].Last = i
		} else {
			gaps = append(gaps, Gap{First: i, Last: i, At: time.Duration(i) * s.interval})
		}
	}
	return s.sent, gaps, s.sendErr
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
