package localapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Membership is what root may change of who is in the network and by which
// names. An error is a refusal that a person can act on.
type Membership interface {
	// Rename gives this node another name, which is kept over restarts.
	Rename(ctx context.Context, name string) (OwnNames, error)
	// AddAlias and RemoveAlias change the extra names of this node.
	AddAlias(ctx context.Context, name string) (OwnNames, error)
	RemoveAlias(ctx context.Context, name string) (OwnNames, error)
	// Forget takes a node that is gone out of what this node knows.
	Forget(ctx context.Context, node string) (Forgotten, error)
	// Leave tells the others that this node has gone for good. The function that
	// it returns takes the network down and deletes what is kept of it.
	Leave(ctx context.Context) (Left, func(), error)
}

// OwnNames are what this node is found by.
type OwnNames struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
	Note    string   `json:"note,omitempty"` // what a person should know of it
}

// Forgotten is the node that was forgotten.
type Forgotten struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Left is what leaving came to.
type Left struct {
	Told   int    `json:"told"`   // nodes that were told
	Folder string `json:"folder"` // where keys and state were kept
}

// maxRequest bounds what a change is asked for with.
const maxRequest = 4096

// handleMembership adds the changes of Membership.
func handleMembership(mux *http.ServeMux, d Membership) {
	change := func(path, key, what string, f func(ctx context.Context, value string) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if !RootOnly(w, r, what) {
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			if err := r.ParseForm(); err != nil {
				writeError(w, http.StatusBadRequest, fmt.Errorf("read the request: %w", err))
				return
			}
			answer, err := f(r.Context(), r.Form.Get(key))
			if err != nil {
				writeError(w, http.StatusConflict, err)
				return
			}
			writeJSON(w, http.StatusOK, answer)
		})
	}
	change("/v1/rename", "name", "rename a node", func(ctx context.Context, name string) (any, error) { return d.Rename(ctx, name) })
	change("/v1/dns/add", "name", "add names", func(ctx context.Context, name string) (any, error) { return d.AddAlias(ctx, name) })
	change("/v1/dns/remove", "name", "remove names", func(ctx context.Context, name string) (any, error) { return d.RemoveAlias(ctx, name) })
	change("/v1/forget", "node", "forget a node", func(ctx context.Context, node string) (any, error) { return d.Forget(ctx, node) })
	mux.HandleFunc("POST /v1/leave", func(w http.ResponseWriter, r *http.Request) {
		if !RootOnly(w, r, "leave a network") {
			return
		}
		left, end, err := d.Leave(r.Context())
		if err != nil {
			writeError(w, http.StatusConflict, err)
			return
		}
		// The answer has to be out before the end begins.
		writeJSON(w, http.StatusOK, left)
		_ = http.NewResponseController(w).Flush()
		end()
	})
}

// RootOnly tells whether root asks, and refuses others. What is the change in
// words, as "rename a node".
func RootOnly(w http.ResponseWriter, r *http.Request, what string) bool {
	root, _ := r.Context().Value(peerKey{}).(bool)
	if !root {
		writeError(w, http.StatusForbidden, errors.New("only root may "+what+": run it with sudo"))
	}
	return root
}

// Rename gives this node another name.
func (c *Client) Rename(ctx context.Context, name string) (n OwnNames, err error) {
	return n, c.change(ctx, "/v1/rename", "name", name, &n)
}

// AddAlias adds an extra name of this node.
func (c *Client) AddAlias(ctx context.Context, name string) (n OwnNames, err error) {
	return n, c.change(ctx, "/v1/dns/add", "name", name, &n)
}

// RemoveAlias takes an extra name of this node away.
func (c *Client) RemoveAlias(ctx context.Context, name string) (n OwnNames, err error) {
	return n, c.change(ctx, "/v1/dns/remove", "name", name, &n)
}

// Forget takes a node that is gone out of what this node knows.
func (c *Client) Forget(ctx context.Context, node string) (f Forgotten, err error) {
	return f, c.change(ctx, "/v1/forget", "node", node, &f)
}

// Leave tells the others that this node has gone for good, and waits until the
// network is down and its keys are deleted.
func (c *Client) Leave(ctx context.Context) (Left, error) {
	var l Left
	if err := c.change(ctx, "/v1/leave", "", "", &l); err != nil {
		return l, err
	}
	return l, c.waitForEnd(ctx)
}

func (c *Client) change(ctx context.Context, path, key, value string, into any) error {
	if key != "" {
		path += "?" + url.Values{key: {value}}.Encode()
	}
	return c.call(ctx, http.MethodPost, path, into)
}
