package oshttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// reporting lets a node report its load.
func reporting(s *httptest.Server, _ *discovery.Instance) {
	s.Config.Handler = oshttp.NewHandler(s.Config.Handler, &oshttp.HandlerOptions{ReportLoad: oshttp.NewLoad(), Telemetry: telemetry.Off()})
}

// crew starts n servers of the service "orders", of which the last few are odd.
func (f *fleet) crew(n, odd int, usual, strange http.HandlerFunc) (all []*node) {
	f.Helper()
	for i := range n {
		h := usual
		if i >= n-odd {
			h = strange
		}
		all = append(all, f.start("orders", fmt.Sprintf("i%02d", i), h, reporting))
	}
	return all
}

// after returns a handler that answers after some simulated work.
func after(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	}
}

// offer sends requests at a steady rate, whatever becomes of them, and returns what they took.
func offer(client *http.Client, perSecond int, d time.Duration) (took []time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for range int(d.Seconds() * float64(perSecond)) {
		due := <-ticker.C
		all.Go(func() {
			_, _ = get(client, "http://orders/")
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// clientThrough returns a client of a Router with a policy.
func (f *fleet) clientThrough(p router.Policy) (*http.Client, *router.Router) {
	r := f.route(p)
	return &http.Client{Transport: f.services(oshttp.ServicesOptions{Router: r}, "orders"), Timeout: 20 * time.Second}, r
}

// passTime returns how long a pass of a comparison takes.
func passTime() time.Duration {
	if measuring() {
		return 30 * time.Second
	}
	return 2500 * time.Millisecond
}

// TestSlowInstances has 14 fast and 2 slow instances. The slow ones must not show in the tail. Other programs on the machine make a tail
// longer, never shorter: up to three comparisons are made.
func TestSlowInstances(t *testing.T) {
	suite.Short(t)
	f := newFleet(t)
	f.crew(16, 2, after(fastWork), after(16*fastWork))
	var p99, p995 float64
	for range 3 {
		robin, auto := f.tails(router.RoundRobin), f.tails(router.Auto)
		p99, p995 = robin[0].Seconds()/auto[0].Seconds(), robin[1].Seconds()/auto[1].Seconds()
		t.Logf("p99 and p99.5: round robin %v, auto %v: %.1f and %.1f times better", robin, auto, p99, p995)
		if p99 >= 6 && p995 >= 6 {
			return
		}
	}
	t.Errorf("p99 and p99.5 are %.1f and %.1f times better than with round robin, want 6", p99, p995)
}

const fastWork = 30 * time.Millisecond

// tails returns the p99 and p99.5 of a steady load that an algorithm balances.
func (f *fleet) tails(algorithm string) [2]time.Duration {
	const rate = 300
	client, _ := f.clientThrough(router.Policy{Balance: router.Balance{Algorithm: algorithm}, SlowStart: router.SlowStart{Off: true}})
	offer(client, rate, time.Second) // to learn
	took := offer(client, rate, passTime())
	return [2]time.Duration{quantile(took, 0.99), quantile(took, 0.995)}
}

// TestFailingInstances has 2 of 20 instances that fail at once. They must not attract requests.
func TestFailingInstances(t *testing.T) {
	t.Parallel() // it mostly waits
	suite.Short(t)
	f := newFleet(t)
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	f.crew(20, 2, after(10*time.Millisecond), fails)
	failed := map[string]int{}
	for _, algorithm := range []string{router.RoundRobin, router.Auto} {
		client, _ := f.clientThrough(router.Policy{
			Balance: router.Balance{Algorithm: algorithm}, Retry: router.Retry{Attempts: 1}, SlowStart: router.SlowStart{Off: true},
			Ejection: router.Ejection{Off: true}, // balancing alone
		})
		var count atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					if _, err := get(client, "http://orders/"); err != nil {
						count.Add(1)
					}
				}
			})
		}
		all.Wait()
		failed[algorithm] = int(count.Load())
	}
	t.Logf("of 1,000 requests failed: round robin %d, auto %d", failed[router.RoundRobin], failed[router.Auto])
	if failed[router.RoundRobin] < 80 || float64(failed[router.Auto]) > 0.15*float64(failed[router.RoundRobin]) {
		t.Errorf("%d of 1,000 requests failed, want at most 15 %% of round robin's %d", failed[router.Auto], failed[router.RoundRobin])
	}
}

// TestSilentInstance has 1 of 20 instances that accepts requests and never answers.
func TestSilentInstance(t *testing.T) {
	t.Parallel() // it mostly waits
	suite.Short(t)
	f := newFleet(t)
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	nodes := f.crew(20, 1, after(10*time.Millisecond), silent)
	client, _ := f.clientThrough(router.Policy{})
	client.Timeout = 10 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	send := func(perSecond int, d time.Duration) (sent int) {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for end := time.Now().Add(d); time.Now().Before(end); sent++ {
			<-ticker.C
			all.Go(func() {
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://orders/", nil)
				if res, err := client.Do(r); err == nil {
					_ = res.Body.Close()
				}
			})
		}
		return sent
	}
	send(150, 2*time.Second)
	before := nodes[19].served.Load()
	sent := send(150, 3*time.Second)
	got := nodes[19].served.Load() - before
	cancel()
	all.Wait()
	t.Logf("after 2 s the silent instance got %d of %d requests; %d before", got, sent, before)
	if before == 0 {
		t.Error("the silent instance never got a request: the test shows nothing")
	}
	if float64(got) > 0.005*float64(sent) {
		t.Errorf("after 2 s the silent instance got %d of %d requests, want at most 0.5 %%", got, sent)
	}
}

// TestKilledInstance kills 1 of 20 instances under load. No request that may be repeated fails, nor one that was not sent.
func TestKilledInstance(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFleet(t)
	nodes := f.crew(20, 0, after(2*time.Millisecond), nil)
	client, _ := f.clientThrough(router.Policy{})
	reads := servicetest.Load(6, func() error { _, err := get(client, "http://orders/"); return err })
	writes := servicetest.Load(2, func() error {
		r, _ := http.NewRequest(http.MethodPost, "http://orders/", strings.NewReader("an order"))
		r.Header.Set("Idempotency-Key", "7")
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	servicetest.Serves(t, "the instance serves", &nodes[7].served, 10)
	nodes[7].kill()
	servicetest.Serves(t, "another instance serves", &nodes[8].served, 10)
	time.Sleep(time.Second)
	for what, stop := range map[string]func() (int64, []error){"reads": reads, "writes": writes} {
		if n, failed := stop(); len(failed) > 0 {
			t.Errorf("%d of %d %s failed: %v", len(failed), n, what, failed[0])
		}
	}
	unsent := func() error { // nothing is sent to a dead instance: even what must not be repeated arrives
		res, err := client.Post("http://orders/", "text/plain", io.MultiReader(strings.NewReader("read once")))
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	for range 100 {
		if err := unsent(); err != nil {
			t.Fatalf("a request that was not sent failed: %v", err)
		}
	}
}

// TestNothingStaysInFlight ends requests in all ways. Each gives its place back exactly once.
func TestNothingStaysInFlight(t *testing.T) {
	f := newFleet(t)
	ways := map[string]http.HandlerFunc{
		"/ok":      answer("some text"),
		"/empty":   func(http.ResponseWriter, *http.Request) {},
		"/missing": http.NotFound,
		"/fails":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"/busy":    func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "0"); w.WriteHeader(503) },
		"/breaks":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"/slow": after(20 * time.Millisecond),
	}
	handler := func(w http.ResponseWriter, r *http.Request) { ways[r.URL.Path](w, r) }
	for i := range 5 {
		f.start("orders", fmt.Sprint("i", i), handler, reporting)
	}
	client, r := f.clientThrough(router.Policy{
		Hedge: router.Hedge{After: 5 * time.Millisecond}, Retry: router.Retry{Wait: time.Millisecond, Timeout: 15 * time.Millisecond},
	})
	requests := 1500
	if measuring() {
		requests = 1_000_000
	}
	var all sync.WaitGroup
	var sent atomic.Int64
	for range 16 {
		all.Go(func() {
			for {
				n := int(sent.Add(1))
				if n > requests {
					return
				}
				for path := range ways { // in random order
					endSomehow(client, path, n)
					break
				}
			}
		})
	}
	all.Wait()
	testenv.Eventually(t, 5*time.Second, "nothing is in flight", func() error {
		status := r.Status()
		for _, e := range status[0].Endpoints {
			if e.InFlight != 0 {
				return fmt.Errorf("%d in flight at %s", e.InFlight, e.ID)
			}
		}
		if status[0].InFlight != 0 {
			return fmt.Errorf("%d in flight", status[0].InFlight)
		}
		return nil
	})
}

// endSomehow makes a request, and reads its answer, or part of it, or cancels it.
func endSomehow(client *http.Client, path string, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n%5 == 0 {
		time.AfterFunc(time.Duration(n%7)*time.Millisecond, cancel)
	}
	method := []string{"GET", "POST", "HEAD"}[n%3]
	r, _ := http.NewRequestWithContext(ctx, method, "http://orders"+path, nil)
	res, err := client.Do(r)
	if err != nil {
		return
	}
	switch n % 4 {
	case 0:
		_, _ = io.Copy(io.Discard, res.Body)
	case 1:
		_, _ = res.Body.Read(make([]byte, 2))
	}
	_ = res.Body.Close()
	_ = res.Body.Close() // a second time
}

// measuring reports whether tests measure in full.
func measuring() bool { return os.Getenv(suite.MeasureVariable) == "on" }
