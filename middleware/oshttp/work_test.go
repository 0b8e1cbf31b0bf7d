package oshttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

var _ oshttp.Shedder = (*shed.Shedder)(nil)

// gate is a Shedder that admits from a priority on.
type gate struct {
	least shed.Priority
	asked []shed.Priority
}

func (g *gate) Admit(_ context.Context, p shed.Priority) (shed.Admission, bool) {
	g.asked = append(g.asked, p)
	return shed.Admission{}, p >= g.least
}

func (g *gate) RetryAfter() time.Duration { return 2500 * time.Millisecond }

func TestShedderRefuses(t *testing.T) {
	gate, served := &gate{least: shed.High}, 0
	g := newRig(t)
	load := oshttp.NewLoad()
	h := g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), oshttp.HandlerOptions{
		Shedder: gate, ReportLoad: load, MaxConcurrent: 1, AccessLog: true,
	})
	for range 3 { // a refused request keeps no place
		res := serveOne(h, "GET", "/")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") != "3" {
			t.Errorf("a refused request: %s, Retry-After %q, want 503 and 3", res.Status, res.Header.Get("Retry-After"))
		}
		if inFlight, _ := reported(t, res.Header); inFlight != 0 {
			t.Errorf("a refused request counts: %d in flight", inFlight)
		}
	}
	r := httptest.NewRequest("GET", "/", http.NoBody)
	r.Header.Set(shed.PriorityHeader, "high")
	h.ServeHTTP(httptest.NewRecorder(), r)
	serveOne(h, "GET", "/livez")
	serveOne(h, "GET", probePath)
	if want := []shed.Priority{0, 0, 0, shed.High}; served != 2 || !slices.Equal(gate.asked, want) {
		t.Errorf("%d served and %v asked for, want the high one and the health check, and %v", served, gate.asked, want)
	}
	if got := g.lines.String(); strings.Count(got, "error.type=overloaded") != 3 {
		t.Errorf("the access log has not three refusals: %s", got)
	}
}

// TestShedderUnderOverload lets a real Shedder protect a handler. Simulated work: four at a time.
func TestShedderUnderOverload(t *testing.T) {
	shedder, err := shed.New(&shed.Options{MaxLimit: 4, InitialLimit: 4, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shedder.Close() }()
	arrived, release := make(chan struct{}), make(chan struct{})
	h := newRig(t).handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}), oshttp.HandlerOptions{Shedder: shedder})
	done := make(chan int)
	for range 4 {
		go func() { done <- serveOne(h, "GET", "/").StatusCode }()
		<-arrived
	}
	if got := serveOne(h, "GET", "/").StatusCode; got != 503 {
		t.Errorf("a fifth request: %d, want 503", got)
	}
	close(release)
	for range 4 {
		if got := <-done; got != 200 {
			t.Errorf("an admitted request: %d, want 200", got)
		}
	}
	go func() { done <- serveOne(h, "GET", "/").StatusCode }() // the places are free again
	<-arrived
	if got := <-done; got != 200 {
		t.Errorf("a request after the others: %d, want 200", got)
	}
}
