package hostdns

import (
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameserver answers as the network's does, or as an uplink's, and remembers
// what it was asked.
type nameserver struct {
	ours bool

	mu    sync.Mutex
	asked []string
}

// serve answers at addr until the test ends.
func serve(t *testing.T, ours bool, addr string) *nameserver {
	t.Helper()
	s := &nameserver{ours: ours}
	c, err := net.ListenPacket("udp", addr)
	must(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { c.Close(); wg.Wait() })
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := s.answer(b[:n]); reply != nil {
				_, _ = c.WriteTo(reply, from)
			}
		}
	})
	return s
}

func (s *nameserver) answer(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	s.mu.Lock()
	s.asked = append(s.asked, name)
	s.mu.Unlock()

	inNet := strings.HasSuffix(name, "internal") || strings.HasSuffix(name, ".20.10.in-addr.arpa")
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: !s.ours, Authoritative: s.ours}
	m.Additionals = nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
	switch {
	case s.ours && !inNet:
		m.RCode = dnsmessage.RCodeRefused
	case !s.ours && inNet:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypePTR:
		to := dnsmessage.MustNewName("nas.home.internal.")
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.PTRResource{PTR: to}}}
	case q.Type == dnsmessage.TypeA && s.ours:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{10, 20, 0, 7}}}}
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// neverAsked fails the test where a question was about a name that has the word.
func (s *nameserver) neverAsked(t *testing.T, word string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.asked {
		if strings.Contains(name, word) {
			t.Errorf("asked for %s", name)
		}
	}
}
