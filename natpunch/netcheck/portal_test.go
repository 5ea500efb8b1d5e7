package netcheck

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestFindPortal(t *testing.T) {
	for name, tt := range map[string]struct {
		handle http.HandlerFunc
		want   Portal
	}{
		"none": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, Portal{State: "none"}},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.example/", http.StatusFound)
		}, Portal{"captive", "http://login.example/"}},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100_000 {
				_, _ = w.Write([]byte("log in here, please. "))
			}
		}, Portal{State: "captive"}},
		"an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNetworkAuthenticationRequired)
		}, Portal{State: "captive"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tt.handle)
			defer s.Close()
			if got := findPortal(t.Context(), s.URL, 0); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	if got := findPortal(t.Context(), s.URL, 0); got.State != "unreachable" {
		t.Errorf("nobody there: %+v", got)
	}
	if got := findPortal(t.Context(), "", 0); got.State != "unknown" {
		t.Errorf("not asked: %+v", got)
	}
}
