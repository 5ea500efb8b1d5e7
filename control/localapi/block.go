package localapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// BlockedNode is a node that this one has nothing to do with.
type BlockedNode struct {
	ID    string    `json:"id"`
	Name  string    `json:"name,omitempty"` // when it was blocked; empty: not known then
	Since time.Time `json:"since"`
}

// Blocker is what the server asks of the daemon about nodes that are shut out. A
// node is named as for Ping; one that is not known, by its whole id.
type Blocker interface {
	// Block ends everything with a node, now and after restarts.
	Block(ctx context.Context, node string) (BlockedNode, error)
	// Unblock takes it in again.
	Unblock(ctx context.Context, node string) (BlockedNode, error)
}

func handleBlock(mux *http.ServeMux, d Blocker) {
	for path, change := range map[string]func(context.Context, string) (BlockedNode, error){
		"POST /v1/block":   d.Block,
		"POST /v1/unblock": d.Unblock,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if root, _ := r.Context().Value(peerKey{}).(bool); !root {
				writeError(w, http.StatusForbidden, errors.New("only root may say which nodes are blocked: run it with sudo"))
				return
			}
			n, err := change(r.Context(), r.URL.Query().Get("node"))
			if err != nil {
				writeError(w, http.StatusConflict, err)
				return
			}
			writeJSON(w, http.StatusOK, n)
		})
	}
}

// Block ends everything with a node, which is a name, the beginning of an id or an
// overlay address; one that is not known, its whole id. It holds until Unblock.
func (c *Client) Block(ctx context.Context, node string) (BlockedNode, error) {
	var n BlockedNode
	err := c.call(ctx, http.MethodPost, "/v1/block?node="+url.QueryEscape(node), &n)
	return n, err
}

// Unblock takes a node in again, named by the name that it had when it was blocked,
// or the beginning of its id.
func (c *Client) Unblock(ctx context.Context, node string) (BlockedNode, error) {
	var n BlockedNode
	err := c.call(ctx, http.MethodPost, "/v1/unblock?node="+url.QueryEscape(node), &n)
	return n, err
}
