package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/examples/internal/childtest"
)

// freeAddr returns an address that no program listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// at makes the go command compile the program with another listen address, since the original one may be in use.
func at(t *testing.T, addr string) {
	t.Helper()
	source, err := filepath.Abs("main.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	patched, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: patched}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{patched: strings.Replace(string(text), "127.0.0.1:8080", addr, 1), overlay: string(list)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
}

// TestHelloReachesItsShutdown stops the program after one request. The collector must have its span, and the program must exit with
// code 0, even if the collector is down.
func TestHelloReachesItsShutdown(t *testing.T) {
	addr := freeAddr(t)
	at(t, addr)
	var built childtest.Program
	defer built.Remove()
	var spans atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && strings.HasSuffix(r.URL.Path, "/v1/traces") && strings.Contains(string(body), "GET /hello/{name}") {
			spans.Add(1)
		}
	}))
	defer collector.Close()
	for name, endpoint := range map[string]string{"collector": collector.URL, "collector down": "http://" + freeAddr(t)} {
		program := childtest.Start(t, &built, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint})
		if got := answer(t, "http://"+addr+"/hello/world"); got != "Hello, world!\n" {
			t.Errorf("%s: got %q", name, got)
		}
		program.Terminate()
		output := program.Wait()
		if name == "collector" && spans.Load() != 1 {
			t.Errorf("the span of the request is not at the collector:\n%s", output)
		}
		if name == "collector down" && !strings.Contains(output, "telemetry was lost at shutdown") {
			t.Errorf("the loss is not reported:\n%s", output)
		}
	}
}

// answer repeats a request until the program answers.
func answer(t *testing.T, url string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}
