package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// ErrNotRunning means that no daemon answers at the socket.
var ErrNotRunning = errors.New("no daemon is running for this network")

// maxAnswer bounds what a client reads of one answer. A status with 4,096
// peers is about 2 MB.
const maxAnswer = 16 << 20

// A socket that refuses is asked again: it may just be opening.
const (
	refusedTries = 3
	refusedPause = 30 * time.Millisecond
)

// Client asks the daemon behind one socket. The zero value is of no use; its
// methods may be called at once from several goroutines.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the daemon at the unix socket. Nothing is
// opened before the first call.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{
		socket: socket,
		http:   http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Status asks for the state of the network.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/v1/status", &s)
	return s, err
}

// Ping sends one echo request through the tunnel to the node, which is a name,
// the beginning of an id, or an overlay address, and waits for the answer at
// most until ctx ends or the daemon's own limit of 5 s. No answer is a
// PingReply with OK false, not an error.
func (c *Client) Ping(ctx context.Context, node string) (PingReply, error) {
	var r PingReply
	err := c.call(ctx, http.MethodGet, "/v1/ping?node="+url.QueryEscape(node), &r)
	return r, err
}

// Down asks the daemon to take the network away and waits until the socket is
// gone, which is the last thing that the daemon does.
func (c *Client) Down(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, "/v1/down", nil); err != nil {
		return err
	}
	return c.waitForEnd(ctx)
}

// waitForEnd returns when the socket is gone.
func (c *Client) waitForEnd(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", c.socket)
		if err != nil {
			return nil
		}
		conn.Close()
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the daemon to end: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Events calls f for each event, first those that the daemon remembers, until
// ctx ends, f returns false or the daemon goes away.
func (c *Client) Events(ctx context.Context, f func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := c.open(ctx, http.MethodGet, "/v1/events")
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var e Event
		if err := dec.Decode(&e); err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return ctx.Err()
			}
			return fmt.Errorf("read events: %w", err)
		}
		if !f(e) {
			return nil
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	body, err := c.open(ctx, method, path)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(into); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

func (c *Client) open(ctx context.Context, method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://credant"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	for try := 0; errors.Is(err, syscall.ECONNREFUSED) && try < refusedTries; try++ {
		// The file is there a moment before anybody listens at it.
		time.Sleep(refusedPause)
		resp, err = c.http.Do(req)
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: run as root, or join the group credant to read", c.socket)
	case err != nil:
		return nil, fmt.Errorf("ask the daemon at %s: %w", c.socket, err)
	}
	if resp.StatusCode < 400 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error string `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e) != nil || e.Error == "" {
		e.Error = resp.Status
	}
	return nil, errors.New(e.Error)
}
