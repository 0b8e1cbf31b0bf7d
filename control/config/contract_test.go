package config_test

import (
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/configtest"
)

// TestContract runs the contract of a source on files and URLs.
func TestContract(t *testing.T) {
	for name, b := range map[string]configtest.Backend{
		"file":          {Open: func(t testing.TB) configtest.Fixture { return fileFixture(t, false) }},
		"optional file": {Open: func(t testing.TB) configtest.Fixture { return fileFixture(t, true) }},
		"url":           {Open: urlFixture, Idle: 12},
	} {
		t.Run(name, func(t *testing.T) { configtest.Run(t, b) })
	}
}

func fileFixture(t testing.TB, optional bool) configtest.Fixture {
	path := filepath.Join(t.TempDir(), "a.yaml")
	f := configtest.Fixture{
		Source:   config.File(path, &config.FileOptions{Optional: optional}),
		Write:    func(text string) { put(t, path, text) },
		Remove:   func() { must(t, os.Remove(path)) },
		Optional: optional,
	}
	f.Write("a: 1\n")
	return f
}

func urlFixture(t testing.TB) configtest.Fixture {
	server := newScripted(t)
	var answer atomic.Pointer[http.HandlerFunc]
	set := func(h http.HandlerFunc) { answer.Store(&h) }
	var broken atomic.Bool
	server.say(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			<-r.Context().Done() // it never answers
			return
		}
		(*answer.Load())(w, r)
	})
	f := configtest.Fixture{
		Source:   config.URL(server.URL+"/a.yaml", &config.URLOptions{Interval: 100 * time.Millisecond}),
		Write:    func(text string) { set(tagged("\""+text[:len(text)-1]+"\"", text)) },
		Remove:   func() { set(http.NotFound) },
		Break:    func() { broken.Store(true) },
		Heal:     func() { broken.Store(false); server.CloseClientConnections() },
		Requests: server.requests.Load,
	}
	f.Write("a: 1\n")
	return f
}
