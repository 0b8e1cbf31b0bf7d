package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/go-os/go-os/control/config/versions"
)

// TestHealthThatHangs uses a monitor that accepts requests and does not answer the first one.
func TestHealthThatHangs(t *testing.T) {
	dir := t.TempDir()
	s := shell{t, "bolt://" + filepath.Join(dir, "config.db"), dir}
	s.expect("version 1", "publish", s.file("a.yaml", "a: 1\n"))
	s.expect("version 2 is the candidate", "publish", "-percent", "10", s.file("a.yaml", "a: 2\n"))
	var asked atomic.Bool
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !asked.Swap(true) {
			<-r.Context().Done()
			return
		}
		_, _ = w.Write([]byte(`{"canary": {"total": 200, "failed": 200}, "stable": {"total": 200}}`))
	}))
	defer health.Close()
	out, err := s.call("", "-timeout", "500ms", "guide", "-every", "20ms", "-stages", "10:1h", "-health", health.URL)
	if !errors.Is(err, versions.ErrAborted) {
		t.Errorf("guide: %v, want that the second answer ends the rollout\n%s", err, out)
	}
}
