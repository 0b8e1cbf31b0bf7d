package shed_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/internal/tooling/suite"
)

// TestGoodputOnSockets sends three times what an HTTP server can do, at a fixed rate, with and without a Shedder. The work is a semaphore and
// a sleep: real work would take the processor from the clients.
func TestGoodputOnSockets(t *testing.T) {
	suite.Short(t)
	with := goodputOnSockets(t, newShedder(t, shed.Options{}))
	without := goodputOnSockets(t, nil)
	t.Logf("goodput: %.2f of the capacity, %.2f without shedding", with, without)
	if with < 0.8 {
		t.Errorf("goodput is %.2f of the capacity, want at least 0.8", with)
	}
	if without > 0.5 {
		t.Errorf("goodput is %.2f of the capacity without shedding, want a collapse", without)
	}
}

func goodputOnSockets(t *testing.T, s *shed.Shedder) float64 {
	const (
		slots, service = 4, 20 * time.Millisecond
		capacity       = int(slots * time.Second / service) // a second
		interval       = service / slots / 3
		span           = 6 * time.Second
		patience       = 300 * time.Millisecond
	)
	places, end := make(chan struct{}, slots), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s != nil {
			a, ok := s.Admit(r.Context(), shed.Normal)
			if !ok {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer a.Done(shed.Success)
		}
		select { // not whether the client has left: few servers look
		case places <- struct{}{}:
			time.Sleep(service)
			<-places
		case <-end:
		}
	}))
	defer server.Close()
	defer close(end)
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 1000
	var good atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	start := time.Now()
	for i := range int(span / interval) {
		time.Sleep(time.Until(start.Add(time.Duration(i) * interval)))
		counts := time.Since(start) > span/2 // past the onset
		wg.Go(func() {
			if get(t.Context(), client, server.URL, patience) && counts {
				good.Add(1)
			}
		})
	}
	return float64(good.Load()) / float64(capacity) / (time.Since(start) - span/2).Seconds()
}

// get reports whether there is an answer in time.
func get(ctx context.Context, client *http.Client, url string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
