package statistics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/internal/fault"
)

// consumer is a Publisher that takes each Sequence of a service once, as the consumer of reports must.
type consumer struct {
	answer func(r Report) (arrived bool, err error) // nil: all arrive

	mu       sync.Mutex
	calls    []time.Time
	seen     map[string]uint64
	accepted []Report
}

func (p *consumer) Publish(ctx context.Context, r Report) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, time.Now())
	arrived, err := true, error(nil)
	if p.answer != nil {
		arrived, err = p.answer(r)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if arrived {
		p.accept(r)
	}
	return err
}

// set changes the answer of later calls.
func (p *consumer) set(answer func(Report) (bool, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *consumer) accept(r Report) {
	if p.seen == nil {
		p.seen = map[string]uint64{}
	}
	if r.Sequence > p.seen[key(&r)] {
		p.seen[key(&r)] = r.Sequence
		p.accepted = append(p.accepted, r)
	}
}

func key(r *Report) string { return r.Client + " " + r.Run + " " + r.Service + " " + r.Protocol }

func collect(t *testing.T, p Publisher, opts *Options) *Collector {
	t.Helper()
	c, err := NewCollector(p, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pass lets time pass, and waits for what it causes.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func record(c *Collector, service string, n int) {
	s := c.Service(service, "http")
	for range n {
		s.Endpoint(Identity{ID: "1"}).Record(s.Method("/"), Success, time.Millisecond)
	}
}

func shutdown(t *testing.T, c *Collector) {
	t.Helper()
	if err := c.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestInterval publishes every 10 s with jitter, and nothing while there are no requests.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := &consumer{}, time.Now()
		c := collect(t, p, &Options{Client: "shop-1"})
		for range 100 {
			record(c, "orders", 2)
			pass(10 * time.Second)
		}
		if n := len(p.calls); n < 99 || n > 112 {
			t.Errorf("%d reports in 1000 s, want about 105", n)
		}
		distinct := map[time.Duration]bool{}
		for i := 1; i < len(p.calls); i++ {
			wait := p.calls[i].Sub(p.calls[i-1])
			distinct[wait] = true
			if wait < 9*time.Second || wait > 20*time.Second { // 20 s: a round may fall before the requests of its time
				t.Errorf("report %d follows after %v", i, wait)
			}
		}
		if len(distinct) < 50 || p.calls[0].Sub(start) > 10*time.Second {
			t.Errorf("%d different waits, the first report after %v: want jitter", len(distinct), p.calls[0].Sub(start))
		}
		pass(20 * time.Second) // the rest
		n := len(p.calls)
		pass(time.Hour)
		if len(p.calls) != n {
			t.Errorf("%d reports without a request", len(p.calls)-n)
		}
		shutdown(t, c)
		if sum := total(p.accepted); sum.Success != 200 {
			t.Errorf("%d requests arrived, want 200", sum.Success)
		}
		if r := p.accepted[0]; r.Client != "shop-1" || len(r.Run) < 20 || r.Sequence != 1 || r.Version != Version {
			t.Errorf("the first report is %+v", r)
		}
	})
}

// TestNothingLost publishes to a consumer that fails in every way, with and without having taken the report. In the end it has counted every
// request once, and the numbers of reports are in order.
func TestNothingLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := &consumer{}
		p.answer = func(r Report) (bool, error) {
			switch n++; n % 7 {
			case 1:
				return false, fault.Unavailable
			case 2:
				return true, errors.New("the answer is lost")
			case 3:
				time.Sleep(time.Minute) // the call times out
				return true, nil
			case 4:
				if p.seen[key(&r)] < r.Sequence { // a consumer does not refuse what it has taken
					return false, fmt.Errorf("%w: a field is missing", fault.Invalid)
				}
			case 5:
				panic("a fault of the publisher")
			}
			return true, nil
		}
		c := collect(t, p, nil)
		for i := range 200 {
			record(c, "orders", 1+i%3)
			record(c, "payments", 2)
			pass(7 * time.Second)
		}
		p.set(nil)
		pass(3 * time.Minute)
		shutdown(t, c)
		byService := map[string]uint64{}
		for _, r := range p.accepted {
			byService[r.Service] += total([]Report{r}).Success
		}
		if byService["orders"] != 399 || byService["payments"] != 400 {
			t.Errorf("%v requests arrived, want 399 and 400", byService)
		}
		if a := c.Account(); a.Delivered == 0 || a.Dropped() != 0 || a.Failures != 0 || a.LastErr == nil {
			t.Errorf("the account is %+v", a)
		}
		for _, service := range []string{"orders", "payments"} {
			times := slices.DeleteFunc(slices.Clone(p.accepted), func(r Report) bool { return r.Service != service })
			for i := 1; i < len(times); i++ {
				if times[i].Sequence <= times[i-1].Sequence || times[i].From.Before(times[i-1].From) {
					t.Errorf("%s: report %d follows %d", service, times[i].Sequence, times[i-1].Sequence)
				}
			}
		}
	})
}

// TestRepeat: a report that may have arrived is repeated as it was, and before any later one.
func TestRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		answer := func(err error) func(Report) (bool, error) {
			return func(r Report) (bool, error) {
				got = append(got, fmt.Sprint(r.Sequence, " ", total([]Report{r}).Success, " ", r.To.Sub(r.From) > time.Minute))
				return true, err
			}
		}
		p := &consumer{answer: answer(fault.Unavailable)}
		c := collect(t, p, nil)
		for range 12 {
			record(c, "orders", 5)
			pass(10 * time.Second)
		}
		p.set(answer(nil))
		pass(2 * time.Minute)
		shutdown(t, c)
		repeats := len(got) - 2
		want := append(slices.Repeat(got[:1], repeats+1), "2 55 true")
		if repeats < 3 || got[0] != "1 5 false" || !slices.Equal(got, want) {
			t.Errorf("published %q: want the first several times, then the rest", got)
		}
		if sum := total(p.accepted); sum.Success != 60 {
			t.Errorf("%d requests arrived, want 60", sum.Success)
		}
	})
}

// TestBackoff: a consumer that fails is asked less often, but at least every minute.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &consumer{answer: func(Report) (bool, error) { return false, fault.Unavailable }}
		c := collect(t, p, nil)
		record(c, "orders", 1)
		pass(time.Hour)
		if n := len(p.calls); n < 60 || n > 125 {
			t.Errorf("%d attempts in an hour, want 60 to 120", n)
		}
		if a := c.Account(); a.Failures != len(p.calls) || !errors.Is(a.LastErr, fault.Unavailable) {
			t.Errorf("the account has %d failures, want %d", a.Failures, len(p.calls))
		}
		down := p.answer
		p.set(nil)
		pass(time.Minute)
		p.set(down)
		p.calls = nil
		record(c, "orders", 1)
		pass(32 * time.Second)
		if n := len(p.calls); n < 2 {
			t.Errorf("%d attempts in 32 s after a success, want 2 or more: the wait begins at an interval again", n)
		}
		if err := c.Shutdown(context.Background()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("Shutdown: %v, want that a report is lost", err)
		}
		if a := c.Account(); a.Dropped() != 1 {
			t.Errorf("%d reports are lost, want 1", a.Dropped())
		}
	})
}

// TestTooLarge: reports become smaller until the consumer takes them.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &consumer{answer: func(r Report) (bool, error) {
			if r.Rows() > 6 {
				return false, fault.TooLarge
			}
			return true, nil
		}}
		c := collect(t, p, nil)
		s := c.Service("orders", "http")
		for i := range 100 {
			s.Endpoint(Identity{ID: fmt.Sprint(i)}).Record(s.Method("/"), Success, 1)
		}
		pass(10 * time.Second)
		if sum := total(p.accepted); sum.Success != 100 {
			t.Errorf("%d requests arrived, want 100", sum.Success)
		}
		shutdown(t, c)
	})
}

// TestTooLargeAlways: a consumer that takes nothing at all does not keep the others from publishing, and is not asked forever.
func TestTooLargeAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &consumer{answer: func(r Report) (bool, error) {
			if r.Service == "orders" {
				return false, fault.TooLarge
			}
			return true, nil
		}}
		c := collect(t, p, nil)
		record(c, "orders", 1)
		record(c, "payments", 1)
		pass(10 * time.Second)
		if len(p.accepted) != 1 || len(p.calls) > 15 {
			t.Errorf("%d reports arrived in %d attempts, want 1 in about 12", len(p.accepted), len(p.calls))
		}
		if err := c.Shutdown(context.Background()); !errors.Is(err, fault.TooLarge) {
			t.Errorf("Shutdown: %v, want that a report is lost", err)
		}
	})
}

// TestShutdown publishes what is left, once, and ends the goroutine even if a call is running.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &consumer{}
		c := collect(t, p, nil)
		record(c, "orders", 3)
		shutdown(t, c)
		shutdown(t, c)
		record(c, "orders", 1)
		record(c, "payments", 1) // starts no goroutine
		if sum := total(p.accepted); len(p.accepted) != 1 || sum.Success != 3 {
			t.Errorf("%d reports with %d requests, want 1 with 3", len(p.accepted), sum.Success)
		}
	})
}

// blocking is a Publisher that blocks until the end of its context.
type blocking struct{ calls atomic.Int64 }

func (p *blocking) Publish(ctx context.Context, _ Report) error {
	p.calls.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

// TestTimeout: a call of a publisher that does not answer ends after the timeout, and is repeated.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &blocking{}
		c := collect(t, p, &Options{Timeout: time.Second})
		record(c, "orders", 3)
		pass(time.Hour)
		if n := p.calls.Load(); n < 50 {
			t.Errorf("%d calls in an hour, want more than 50", n)
		}
		if err := c.Shutdown(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want that a report is lost", err)
		}
	})
}

// TestShutdownWhilePublishing interrupts the call that is running, and reports the loss when the time is up.
func TestShutdownWhilePublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &blocking{}
		c := collect(t, p, nil)
		record(c, "orders", 3)
		for p.calls.Load() == 0 {
			pass(time.Second)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		if err := c.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want that a report is lost", err)
		}
		if took := time.Since(start); took > time.Second || p.calls.Load() != 2 {
			t.Errorf("Shutdown took %v with %d calls, want 1 s with 2", took, p.calls.Load())
		}
	})
}

// deaf is a Publisher that ignores its context.
type deaf struct{ release chan struct{} }

func (p deaf) Publish(context.Context, Report) error {
	<-p.release
	return nil
}

// TestShutdownDeaf: Shutdown does not wait for a publisher that ignores its context.
func TestShutdownDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := deaf{make(chan struct{})}
		c := collect(t, p, nil)
		record(c, "orders", 3)
		pass(10 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); !errors.Is(err, delivery.ErrOutOfTime) {
			t.Errorf("Shutdown: %v, want that it ran out of time", err)
		}
		close(p.release)
	})
}

// TestWithoutPublisher counts, and has no goroutine that the bubble would wait for.
func TestWithoutPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collect(t, nil, nil)
		record(c, "orders", 3)
		if sum := total(c.Service("orders", "http").take(epoch, 10)); sum.Success != 3 {
			t.Errorf("%d requests, want 3", sum.Success)
		}
		shutdown(t, c)
	})
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]*Options{
		"invalid: statistics.Options.Interval is -1ns: give a positive value, or 0 for the default, 10s": {Interval: -1},
		"invalid: statistics.Options.Timeout is -1ns: give a positive value, or 0 for the default, 5s":   {Timeout: -1},
		"invalid: statistics.Options.Rows is -1: give a positive value, or 0 for the default, 1000":      {Rows: -1},
	} {
		if _, err := NewCollector(nil, o); !errors.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
