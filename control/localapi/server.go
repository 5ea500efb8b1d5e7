package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// Daemon is what the server asks of the daemon. Its methods are called from
// several goroutines at once.
type Daemon interface {
	Status() Status
	// Ping waits for the answer or for ctx to end; an unknown node is an
	// error, silence is a reply with OK false.
	Ping(ctx context.Context, node string) (PingReply, error)
	// Down begins to take the network away and returns at once.
	Down()
	// Events returns what is remembered and a channel with what comes, which
	// is closed when ctx ends or when the reader is too slow.
	Events(ctx context.Context) ([]Event, <-chan Event)
	Membership
	Blocker
}

// pingLimit is how long one echo is waited for.
const pingLimit = 5 * time.Second

// Listen opens the unix socket with the mode and group that the package
// documents. A socket that nobody answers at is replaced; one with a living
// daemon is an error.
func Listen(socket string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a daemon already answers at %s: use \"credant status\", or \"credant down\" first", socket)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the socket: %w", err)
	}
	if fi, err := os.Lstat(socket); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is in the way and is not a socket: remove it, or use --socket", socket)
		}
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("replace a dead socket: %w", err)
		}
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect %s: %w", socket, err)
	}
	if g, err := user.LookupGroup("credant"); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(socket, 0, gid) // not fatal: the group is a convenience
		}
	}
	return l, nil
}

// Serve answers at the listener until ctx ends. It does not close it: whoever
// waits for the end of the daemon watches the socket.
func Serve(ctx context.Context, l net.Listener, d Daemon) error {
	s := &http.Server{
		Handler:           handler(ctx, d),
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerIsRoot(c))
		},
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(lent{l}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the local API: %w", err)
	}
	return nil
}

// lent is a listener that stops accepting when it is closed, and stays open.
type lent struct{ net.Listener }

func (l lent) Close() error {
	if u, ok := l.Listener.(*net.UnixListener); ok {
		return u.SetDeadline(time.Now())
	}
	return l.Listener.Close()
}

type peerKey struct{}

func handler(ctx context.Context, d Daemon) http.Handler {
	mux := http.NewServeMux()
	handleMembership(mux, d)
	handleBlock(mux, d)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, d.Status())
	})
	mux.HandleFunc("GET /v1/ping", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pingLimit)
		defer cancel()
		reply, err := d.Ping(ctx, r.URL.Query().Get("node"))
		if err != nil {
			writeError(w, http.StatusNotFound, err)
			return
		}
		writeJSON(w, http.StatusOK, reply)
	})
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, r *http.Request) {
		if !RootOnly(w, r, "take a network down") {
			return
		}
		// The answer has to be out before the end begins, which closes this
		// connection as well.
		w.WriteHeader(http.StatusNoContent)
		_ = http.NewResponseController(w).Flush()
		d.Down()
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		reqCtx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		past, events := d.Events(reqCtx)
		flush := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		for _, e := range past {
			if enc.Encode(e) != nil {
				return
			}
		}
		_ = flush.Flush()
		for e := range events {
			if enc.Encode(e) != nil || flush.Flush() != nil {
				return
			}
		}
	})
	return mux
}

// writeJSON gives the length, so that an answer which is flushed is whole: the
// daemon may end before the handler returns.
func writeJSON(w http.ResponseWriter, code int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // of types that can be written
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // the reader went away: nobody is left to tell
}

func writeError(w http.ResponseWriter, code int, err error) {
	writeJSON(w, code, map[string]string{"error": err.Error()})
}
