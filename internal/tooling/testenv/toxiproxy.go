package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// ProxyHandle is a Toxiproxy in front of another server: the network between a client and an engine, which a test can cut, slow down and
// heal.
type ProxyHandle struct {
	*Process
	t testing.TB
}

// Proxy starts a Toxiproxy in front of the server at the address.
func Proxy(t testing.TB, upstream string) *ProxyHandle {
	t.Helper()
	p := &ProxyHandle{Process: start(t, toxiproxyEngine()), t: t}
	p.api(http.MethodPost, "/proxies", map[string]any{"name": proxyName, "listen": p.Endpoint(), "upstream": upstream, "enabled": true})
	return p
}

const proxyName = "engine"

// Endpoint returns the address for clients, instead of the server's own.
func (p *ProxyHandle) Endpoint() string { return p.Addr(1) }

// Cut ends all connections and refuses new ones.
func (p *ProxyHandle) Cut() { p.enable(false) }

// Drop discards all data in either direction, without closing a connection.
func (p *ProxyHandle) Drop() {
	for _, stream := range []string{"upstream", "downstream"} {
		p.toxic("timeout", stream, map[string]any{"timeout": 0})
	}
}

// Slow delays the data that the server sends.
func (p *ProxyHandle) Slow(latency, jitter time.Duration) {
	p.toxic("latency", "downstream", map[string]any{"latency": latency.Milliseconds(), "jitter": jitter.Milliseconds()})
}

// Heal removes all faults.
func (p *ProxyHandle) Heal() { p.api(http.MethodPost, "/reset", nil) }

func (p *ProxyHandle) enable(enabled bool) {
	p.api(http.MethodPost, "/proxies/"+proxyName, map[string]any{"enabled": enabled})
}

func (p *ProxyHandle) toxic(kind, stream string, attributes map[string]any) {
	p.api(http.MethodPost, "/proxies/"+proxyName+"/toxics", map[string]any{"type": kind, "stream": stream, "attributes": attributes})
}

// api sends a request to Toxiproxy, and fails the test if it is refused.
func (p *ProxyHandle) api(method, path string, body any) {
	p.t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Addr(0)+path, bytes.NewReader(content))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true // a test that counts goroutines must not see this connection
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		p.t.Fatal(fmt.Errorf("toxiproxy: %s %s: %s", method, path, resp.Status))
	}
}

func toxiproxyEngine() *Engine {
	return &Engine{
		Name:    "toxiproxy",
		Weight:  Light,
		Module:  "internal/tooling/engines/toxiproxy",
		Package: "github.com/Shopify/toxiproxy/v2/cmd/server",
		Ports:   2,                           // its API, and where the proxy listens
		Env:     []string{"LOG_LEVEL=error"}, // it would write a line for every connection
		Args: func(p Place) []string {
			return []string{"-host", "127.0.0.1", "-port", strconv.Itoa(p.Ports[0])}
		},
		Ready: func(ctx context.Context, p Place) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr(0)+"/version", nil)
			if err != nil {
				return err
			}
			return expectOK(req)
		},
	}
}
