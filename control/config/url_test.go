package config_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// serve answers every request with one document.
func serve(t testing.TB, contentType, text string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(server.Close)
	return server
}
