package scenario

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/credant/credant/integration/lab"
)

// serverPort is where a plainServer listens by TCP and UDP.
const serverPort = 7007

// A plainServer runs on a host that has nothing of ours. It tells each client where it comes from: by UDP in answer to
// each datagram, by TCP at once, after which it echoes.
type plainServer struct{ host *lab.Host }

func (w *world) serve(h *lab.Host, addrs ...netip.Addr) plainServer {
	w.t.Helper()
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, serverPort)
		var tcp net.Listener
		w.must(h.Do(func() (err error) {
			tcp, err = net.Listen("tcp", at.String())
			return err
		}))
		udp, err := h.ListenUDP(at)
		w.must(err)
		w.t.Cleanup(func() { tcp.Close(); udp.Close() })
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		go func() {
			b := make([]byte, 1500)
			for {
				_, from, err := udp.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				_, _ = udp.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
			}
		}()
	}
	return plainServer{h}
}

// askLimit is what one question may take, in the VM too: reaches asks again, and reachesNot waits for all of it.
const askLimit = 4 * time.Second

// seenBy asks the server at an address, from a host, by which address it sees it. By TCP a good deal of data is echoed.
func seenBy(from *lab.Host, network string, server netip.Addr) (seen netip.Addr, err error) {
	err = from.Do(func() error {
		c, err := net.DialTimeout(network, netip.AddrPortFrom(server, serverPort).String(), askLimit)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(askLimit))
		b := make([]byte, 100)
		if network == "udp" {
			if _, err := c.Write([]byte("who am I?")); err != nil {
				return err
			}
			n, err := c.Read(b)
			if err != nil {
				return err
			}
			seen, err = netip.ParseAddr(string(b[:n]))
			return err
		}
		var line []byte
		for len(line) == 0 || line[len(line)-1] != '\n' {
			n, err := c.Read(b[:1])
			if err != nil {
				return err
			}
			line = append(line, b[:n]...)
		}
		if seen, err = netip.ParseAddr(string(line[:len(line)-1])); err != nil {
			return err
		}
		data := make([]byte, 100<<10) // many packets of the longest size
		go func() { _, _ = c.Write(data) }()
		if _, err := io.ReadFull(c, data); err != nil {
			return errors.Join(errors.New("echo"), err)
		}
		return nil
	})
	return seen, err
}

// reaches waits until the host reaches the server by TCP and UDP, at most for limit or patience, and returns by which
// address it is seen.
func (w *world) reaches(from *lab.Host, server netip.Addr, limit time.Duration) netip.Addr {
	w.t.Helper()
	var seen netip.Addr
	for _, network := range []string{"udp", "tcp"} {
		var err error
		began := time.Now()
		for {
			if seen, err = seenBy(from, network, server); err == nil {
				break
			}
			if time.Since(began) > scaled(max(limit, patience)) {
				w.t.Fatalf("%s does not reach %s by %s: %v", from.Name, server, network, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return seen
}

// reachesNot tries once by TCP and UDP.
func (w *world) reachesNot(from *lab.Host, server netip.Addr) {
	w.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		if seen, err := seenBy(from, network, server); err == nil {
			w.t.Errorf("%s reaches %s by %s, seen as %s", from.Name, server, network, seen)
		}
	}
}

// splitLines returns the lines that are not empty.
func splitLines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// isPlainRule tells a routing rule that each host has.
func isPlainRule(line string) bool {
	return strings.HasPrefix(line, "0:") || strings.HasPrefix(line, "32766:") || strings.HasPrefix(line, "32767:")
}
