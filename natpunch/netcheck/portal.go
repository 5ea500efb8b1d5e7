package netcheck

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// DefaultPortalURL answers with nothing (204). A captive portal answers for it
// with a page of its own.
const DefaultPortalURL = "http://connectivitycheck.gstatic.com/generate_204"

// Portal is what an unencrypted web request shows.
type Portal struct {
	// State: "none", "captive", "unreachable" or, when it was not looked at,
	// "unknown".
	State string `json:"state"`
	// Location is where a portal sends browsers; empty: it does not say.
	Location string `json:"location,omitempty"`
}

const (
	portalTime = 5 * time.Second
	maxBody    = 4096
)

func findPortal(ctx context.Context, url string, mark int) Portal {
	if url == "" {
		return Portal{State: "unknown"}
	}
	ctx, cancel := context.WithTimeout(ctx, portalTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Portal{State: "unknown"}
	}
	// No proxy: it is this host's own way that is looked at.
	dialer := net.Dialer{Control: marking(mark)}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, DialContext: dialer.DialContext}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return Portal{State: "unreachable"}
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if response.StatusCode == http.StatusNoContent || response.StatusCode == http.StatusOK && len(body) == 0 {
		return Portal{State: "none"}
	}
	return Portal{State: "captive", Location: response.Header.Get("Location")}
}
