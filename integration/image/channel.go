package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errRebooted says that a script was cut short because its machine restarted.
var errRebooted = errors.New("the machine restarted")

// A channel is the serial port to the guest's agent.
type channel struct {
	conn net.Conn
	gone <-chan struct{} // closed when QEMU has ended

	mu      sync.Mutex
	last    int
	waiting map[int]chan int
	ready   chan struct{} // closed once the agent of this boot has spoken
}

// dial connects to the socket that QEMU makes.
func dial(ctx context.Context, path string, gone <-chan struct{}) (*channel, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			c := &channel{conn: conn, gone: gone, waiting: make(map[int]chan int), ready: make(chan struct{})}
			go c.read()
			return c, nil
		}
		select {
		case <-gone:
			return nil, errors.New("QEMU has ended")
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to the agent: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// read takes in what the agent says until the connection ends.
func (c *channel) read() {
	for lines := bufio.NewScanner(c.conn); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 1 && words[0] == "ready":
			c.booted()
		case len(words) == 3 && words[0] == "done":
			n, _ := strconv.Atoi(words[1])
			code, err := strconv.Atoi(words[2])
			if err == nil {
				c.done(n, code)
			}
		}
	}
}

func (c *channel) booted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, w := range c.waiting {
		close(w)
		delete(c.waiting, n)
	}
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

func (c *channel) done(n, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.waiting[n]; ok {
		w <- code
		delete(c.waiting, n)
	}
}

// expectReboot makes awaitReady wait for the next boot's agent.
func (c *channel) expectReboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = make(chan struct{})
}

func (c *channel) awaitReady(ctx context.Context) error {
	c.mu.Lock()
	ready := c.ready
	c.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-c.gone:
		return errors.New("QEMU has ended")
	case <-ctx.Done():
		return fmt.Errorf("wait for the agent: %w", context.Cause(ctx))
	}
}

// number is one that was not given before.
func (c *channel) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return c.last
}

// next reserves a number for a script.
func (c *channel) next() (int, chan int) {
	n, w := c.number(), make(chan int, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[n] = w
	return n, w
}

// run has the agent run script n, whose number next gave, and returns its exit code.
func (c *channel) run(ctx context.Context, n int, answer chan int) (int, error) {
	if err := c.say("run", n); err != nil {
		return 0, err
	}
	select {
	case code, ok := <-answer:
		if !ok {
			return 0, errRebooted
		}
		return code, nil
	case <-c.gone:
		return 0, errors.New("QEMU has ended")
	case <-ctx.Done():
		_ = c.say("kill", n)
		return 0, context.Cause(ctx)
	}
}

func (c *channel) say(what string, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := fmt.Fprintf(c.conn, "%s %d\n", what, n); err != nil {
		return fmt.Errorf("speak to the agent: %w", err)
	}
	return nil
}

func (c *channel) close() { _ = c.conn.Close() }
