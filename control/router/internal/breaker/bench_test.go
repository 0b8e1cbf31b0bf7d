package breaker_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/internal/tooling/suite"
)

// subjects are the calls on a request's path.
func subjects(t testing.TB) map[string]func(now time.Duration) {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	closed, err := breaker.New(breaker.Config{SlowCall: time.Second})
	must(err)
	open, err := breaker.New(breaker.Config{MinVolume: 1, Open: 1 << 60, Window: 1 << 60})
	must(err)
	permit, _ := open.Allow(0)
	permit.Record(0, breaker.Failure, 0)
	throttle, err := breaker.NewThrottle(breaker.ThrottleConfig{})
	must(err)
	budget, err := breaker.NewBudget(breaker.BudgetConfig{})
	must(err)
	limit := new(breaker.Concurrency)
	must(limit.SetLimit(1000))
	rate, err := breaker.NewRateLimit(breaker.RateConfig{PerSecond: 1e9})
	must(err)
	keyed, err := breaker.NewKeyedRateLimit(breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1e9}})
	must(err)
	keyed.Allow(0, "tenant")
	lasting, _ := closed.Allow(0)
	failures := 0
	return map[string]func(time.Duration){
		"Allow/closed":   func(now time.Duration) { closed.Allow(now) },
		"Allow/open":     func(now time.Duration) { open.Allow(now) },
		"Record/success": func(now time.Duration) { lasting.Record(now, breaker.Success, time.Millisecond) },
		"Record/mixed": func(now time.Duration) {
			result := breaker.Success
			if failures++; failures%10 == 0 {
				result = breaker.Failure
			}
			lasting.Record(now, result, time.Millisecond)
		},
		"Throttle": func(now time.Duration) {
			if throttle.Allow(now) {
				throttle.Record(now, true)
			}
		},
		"Budget/Request":  func(now time.Duration) { budget.Request(now) },
		"Budget/Withdraw": func(now time.Duration) { token, _ := budget.Withdraw(now); token.Return() },
		"Concurrency": func(time.Duration) {
			if limit.Acquire() {
				limit.Release()
			}
		},
		"RateLimit":      func(now time.Duration) { rate.Allow(now) },
		"KeyedRateLimit": func(now time.Duration) { keyed.Allow(now, "tenant") },
	}
}

func BenchmarkBreaker(b *testing.B) {
	for name, call := range subjects(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			now := time.Duration(0)
			for b.Loop() {
				now += 100
				call(now)
			}
		})
		if name == "Record/mixed" { // counts without a lock
			continue
		}
		b.Run(name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				now := time.Duration(0)
				for pb.Next() {
					now += 100
					call(now)
				}
			})
		})
	}
}

func BenchmarkKeyedRateLimitFlood(b *testing.B) {
	l, err := breaker.NewKeyedRateLimit(breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Allow(0, strconv.Itoa(i))
	}
}

func TestAllocsOfHotPath(t *testing.T) {
	for name, call := range subjects(t) {
		now := time.Duration(0)
		if n := testing.AllocsPerRun(1000, func() { now += 100; call(now) }); n != 0 {
			t.Errorf("%s allocates %v times, want none", name, n)
		}
	}
}

// TestTimesOfHotPath asserts the targets of the hot path. Other work on the machine can only add to a time, so the best of several counts.
func TestTimesOfHotPath(t *testing.T) {
	suite.Measure(t)
	all := subjects(t)
	for name, target := range map[string]time.Duration{"Allow/closed": 20, "Record/success": 100, "Record/mixed": 100} {
		best := time.Duration(1 << 62)
		for range 10 {
			r := testing.Benchmark(func(b *testing.B) {
				now := time.Duration(0)
				for b.Loop() {
					now += 100
					all[name](now)
				}
			})
			best = min(best, time.Duration(r.NsPerOp()))
		}
		t.Logf("%s: %v, target %v", name, best, target)
		if best > target {
			t.Errorf("%s takes %v, want at most %v", name, best, target)
		}
	}
}
