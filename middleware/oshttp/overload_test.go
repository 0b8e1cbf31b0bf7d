package oshttp_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/internal/admission/admissiontest"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

const (
	overloadPlaces  = 4
	overloadService = 5 * time.Millisecond
	overloadLine    = time.Millisecond
)

// overloaded returns a handler with four places, whose requests take 5 ms and whose log lines take 1 ms each.
func overloaded(sink slog.Handler) http.Handler {
	p := telemetry.Off()
	p.Logger = slog.New(sink)
	return oshttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(overloadService) }),
		&oshttp.HandlerOptions{MaxConcurrent: overloadPlaces, AccessLog: true, Telemetry: p})
}

// TestGoodputUnderOverload offers 3 to 50 times its capacity to a handler with a slow log sink, in synctest time. The
// handler keeps its throughput.
func TestGoodputUnderOverload(t *testing.T) {
	const span = time.Second
	capacity := 0
	synctest.Test(t, func(t *testing.T) { // as many callers as places
		var served int
		var mu sync.Mutex
		var wg sync.WaitGroup
		h, end := overloaded(admissiontest.NewSink(overloadLine)), time.Now().Add(span)
		for range overloadPlaces {
			wg.Go(func() {
				for time.Now().Before(end) {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
					mu.Lock()
					served++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		capacity = served
	})
	for _, factor := range []int{3, 10, 50} {
		synctest.Test(t, func(t *testing.T) {
			sink := admissiontest.NewSink(overloadLine)
			h, end := overloaded(sink), time.Now().Add(span)
			var served, refused atomic.Int64
			every := overloadService / time.Duration(overloadPlaces*factor)
			for time.Now().Before(end) {
				go func() {
					rec := httptest.NewRecorder()
					h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
					switch {
					case rec.Code == http.StatusServiceUnavailable:
						refused.Add(1)
					case time.Now().Before(end):
						served.Add(1)
					}
				}()
				time.Sleep(every)
			}
			time.Sleep(time.Second) // requests in flight
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			if got := float64(served.Load()) / float64(capacity); got < 0.9 {
				t.Errorf("%d× overload: %d requests are served, %.0f %% of the capacity of %d", factor, served.Load(), 100*got, capacity)
			}
			all := sink.Accounted()
			if want := served.Load() + refused.Load(); all < want || all > want+overloadPlaces+1 {
				t.Errorf("%d× overload: the log accounts for %d requests of %d", factor, all, want)
			}
		})
	}
}

// TestRefusalsHoldNoPlace blocks the sink, or the provider, while a refusal is reported. The place that becomes free must
// serve the next request.
func TestRefusalsHoldNoPlace(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   oshttp.HandlerOptions
		change func(*http.Request)
		status int
	}{
		{"no place", oshttp.HandlerOptions{}, func(r *http.Request) { r.URL.Path = "/refused" }, 503},
		{"body too large", oshttp.HandlerOptions{MaxBodyBytes: 1}, func(r *http.Request) { r.ContentLength = 2 }, 413},
		{"no time left", oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader}, func(r *http.Request) { r.Header.Set(oshttp.DefaultDeadlineHeader, "0") }, 504},
	} {
		t.Run(test.name, func(t *testing.T) {
			entered, leave := make(chan bool), make(chan bool)
			reporting, report := make(chan bool, 1), make(chan bool)
			test.opts.Telemetry = telemetry.Off()
			test.opts.Telemetry.Logger = slog.New(blocking{slog.DiscardHandler, reporting, report})
			test.opts.MaxConcurrent, test.opts.AccessLog = 1, true
			h := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/holds" {
					entered <- true
					<-leave
				}
			}), &test.opts)
			do := func(path string, change func(*http.Request)) int {
				rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
				change(r)
				h.ServeHTTP(rec, r)
				return rec.Code
			}
			same := func(*http.Request) {}
			codes := make(chan int, 2)
			holds := test.status == http.StatusServiceUnavailable
			if holds {
				go func() { codes <- do("/holds", same) }()
				<-entered
			}
			go func() { codes <- do("/refused", test.change) }()
			<-reporting // the refusal is stuck in its log line
			if holds {
				leave <- true
				if code := <-codes; code != 200 {
					t.Errorf("the first request got %d", code)
				}
			}
			if code := do("/", same); code != 200 {
				t.Errorf("a request got %d while a refusal was being logged, want 200", code)
			}
			close(report)
			if code := <-codes; code != test.status {
				t.Errorf("the refused request got %d, want %d", code, test.status)
			}
		})
	}
}

// blocking is a log handler that blocks on the lines of /refused.
type blocking struct {
	slog.Handler
	reporting chan<- bool
	report    <-chan bool
}

func (b blocking) Enabled(context.Context, slog.Level) bool { return true }

func (b blocking) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "url.path" && a.Value.String() == "/refused" {
			b.reporting <- true
			<-b.report
		}
		return true
	})
	return nil
}

// BenchmarkGoodput measures requests served a second, over loopback, by a handler that is offered up to 50 times its
// capacity, with a log sink that takes 5 ms a line. It fails if overload costs a fifth of the capacity.
func BenchmarkGoodput(b *testing.B) {
	const places, service, line = 4, 100 * time.Millisecond, 5 * time.Millisecond
	var capacity float64
	for _, factor := range []int{1, 3, 10, 50} {
		b.Run(fmt.Sprintf("%dx", factor), func(b *testing.B) {
			p := telemetry.Off()
			p.Logger = slog.New(admissiontest.NewSink(line))
			srv := httptest.NewServer(oshttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(service) }),
				&oshttp.HandlerOptions{MaxConcurrent: places, AccessLog: true, Telemetry: p}))
			defer srv.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: places * factor}}
			defer client.CloseIdleConnections()
			var served atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range places * factor {
				wg.Go(func() {
					for served.Load() < int64(b.N) {
						res, err := client.Get(srv.URL)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
						if res.StatusCode == http.StatusOK {
							served.Add(1)
						} else {
							time.Sleep(service) // the wait of a caller before it retries
						}
					}
				})
			}
			wg.Wait()
			goodput := float64(served.Load()) / b.Elapsed().Seconds()
			b.ReportMetric(goodput, "served/s")
			if factor == 1 {
				capacity = goodput
			} else if b.N >= 50 && goodput < 0.8*capacity {
				b.Errorf("%.0f requests a second are served, the capacity is %.0f", goodput, capacity)
			}
		})
	}
}

// The next line counts the refusals without a line of their own.
func TestRefusalsWithoutALineAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := &syncBuffer{}
		p := telemetry.Off()
		p.Logger = slog.New(slog.NewTextHandler(lines, nil))
		entered, leave := make(chan bool), make(chan bool)
		h := oshttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- true
			<-leave
		}), &oshttp.HandlerOptions{MaxConcurrent: 1, AccessLog: true, Telemetry: p})
		serve := func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) }
		go serve()
		<-entered
		for range 100 {
			serve()
		}
		leave <- true
		synctest.Wait()
		got := lines.String()
		if n := strings.Count(got, "error.type=overloaded"); n != 10 || !strings.HasSuffix(got, "unlogged_refusals=90") {
			t.Errorf("%d lines for 100 refusals, and the last line is %q; want 10, and 90 in it", n, lastLine(got))
		}
	})
}
