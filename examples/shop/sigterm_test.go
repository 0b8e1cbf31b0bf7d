package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestSIGTERMUnderLoad stops a busy shop. The shutdown must be clean, every response must be complete, and the collector must have the
// storefront's span of each request.
func TestSIGTERMUnderLoad(t *testing.T) {
	collector := testenv.Collector(t, nil)
	shop := startShop(t, export(collector, "grpc"), "-rate", "0")
	front, _ := shop.url("storefront")

	customers := &customers{front: front, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	defer customers.client.CloseIdleConnections()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() { customers.run(ctx) })
	}
	testenv.Eventually(t, 30*time.Second, "a busy shop", func() error {
		if n := customers.count(); n < 200 {
			return fmt.Errorf("%d answers so far", n)
		}
		return nil
	})
	shop.Terminate()
	output := shop.Wait()
	stop()
	running.Wait()

	// The storefront's spans are the accepted requests, and the customers' answers are the completed ones. They must be the same.
	accepted := make(map[string]bool)
	for _, s := range collector.Spans() {
		if s.Service() == "storefront" && s.Kind == tracepb.Span_SPAN_KIND_SERVER {
			accepted[s.Trace()] = true
			if code := s.Attr("http.response.status_code"); code != "201" {
				t.Errorf("trace %s: the storefront answered %q", s.Trace(), code)
			}
		}
	}
	for _, id := range customers.answered {
		if !accepted[id] {
			t.Errorf("trace %s: answered, but its span is not in the collector", id)
		}
	}
	if len(accepted) != len(customers.answered) || len(accepted) < 100 || customers.broken > 0 {
		t.Errorf("%d requests were accepted, %d answered, %d answers broke off", len(accepted), len(customers.answered), customers.broken)
	}
	for _, service := range services {
		checkAccount(t, output, service, "traces", count(collector.Spans(), service))
		checkAccount(t, output, service, "logs", count(collector.LogRecords(), service))
	}
}

// customers send orders, each in its own trace, and record the answered ones.
type customers struct {
	front  string
	client *http.Client

	mu       sync.Mutex
	answered []string // trace ids
	broken   int      // incomplete answers
}

// run sends orders until the storefront is gone or ctx ends.
func (c *customers) run(ctx context.Context) {
	for ctx.Err() == nil {
		id := traceID()
		body := strings.NewReader(`{"product":"lamp","quantity":1,"card":"4242424242424242"}`)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.front+"/orders", body)
		if err != nil {
			return
		}
		req.Header.Set("traceparent", "00-"+id+"-00f067aa0ba902b7-01")
		resp, err := c.client.Do(req)
		if err != nil {
			return // refused: the storefront has closed its listener
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		c.mu.Lock()
		c.answered = append(c.answered, id)
		if err != nil || resp.StatusCode != http.StatusCreated {
			c.broken++
		}
		c.mu.Unlock()
	}
}

func (c *customers) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answered)
}

func traceID() string {
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	id[0] |= 1 // never zero
	return hex.EncodeToString(id)
}

// TestStopsAtOnceWhenIdle: an idle shop stops at once, without waiting for a deadline.
func TestStopsAtOnceWhenIdle(t *testing.T) {
	t.Parallel()
	shop := startShop(t, nil, "-rate", "0")
	began := time.Now()
	shop.Terminate()
	shop.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("an idle shop took %v to end", took)
	}
}
