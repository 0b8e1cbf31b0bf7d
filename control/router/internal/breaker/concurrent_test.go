package breaker_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
)

// TestBreakerConservesPermits: many callers go through many transitions. There are never more trials in the air than permitted, each
// transition starts where the one before ended, and in the end no trial is pending.
func TestBreakerConservesPermits(t *testing.T) {
	const trials = 3
	var (
		clock, inAir, opened atomic.Int64
		mu                   sync.Mutex
		balance              = map[breaker.State]int{} // entered minus left
	)
	b, err := breaker.New(breaker.Config{
		MinVolume: 5, Window: 100 * time.Millisecond, Open: 10 * time.Millisecond, MaxOpen: 20 * time.Millisecond, HalfOpen: trials,
		PermitTime: time.Hour,
		Changed: func(from, to breaker.State, _ string) {
			mu.Lock()
			defer mu.Unlock()
			balance[from]--
			balance[to]++
			if to == breaker.Open {
				opened.Add(1)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for caller := range uint64(8) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(caller, 1))
			for range 5000 {
				now := time.Duration(clock.Add(int64(20 * time.Microsecond)))
				halfOpen := b.State(now) == breaker.HalfOpen
				permit, ok := b.Allow(now)
				if !ok {
					continue
				}
				if n := inAir.Add(1); halfOpen && b.Counts(now).Pending > trials {
					t.Errorf("%d trials pending of %d in the air, want at most %d", b.Counts(now).Pending, n, trials)
				}
				result := breaker.Result(random.IntN(3))
				inAir.Add(-1)
				permit.Record(now, result, 0)
			}
		})
	}
	wg.Wait()
	now := time.Duration(clock.Load())
	if c := b.Counts(now); c.Pending != 0 || c.Trials >= trials {
		t.Errorf("counts %+v at the end, want no pending trial and a decision after %d", c, trials)
	}
	if opened.Load() < 10 {
		t.Errorf("opened %d times, want many transitions", opened.Load())
	}
	end := b.State(now)
	if end == breaker.HalfOpen && b.Counts(now).Trials == 0 {
		end = breaker.Open // its time is over, and nobody has asked yet
	}
	for state, n := range balance {
		want := 0
		switch {
		case state == breaker.Closed && end != breaker.Closed:
			want = -1
		case state == end && end != breaker.Closed:
			want = 1
		}
		if n != want {
			t.Errorf("state %v was entered %d times more than left, want %d; the breaker ended %v", state, n, want, end)
		}
	}
}

// TestWindowLosesNothing: results recorded by many callers are all counted, once, while the window moves.
func TestWindowLosesNothing(t *testing.T) {
	const callers, each = 8, 5000
	b, err := breaker.New(breaker.Config{MinVolume: callers*each + 1, Window: time.Hour, SlowCall: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range each {
				now := time.Duration(i) * 54 * time.Minute / each // nine buckets pass
				permit, _ := b.Allow(now)
				permit.Record(now, breaker.Failure, 1)
			}
		})
	}
	wg.Wait()
	if c := b.Counts(54 * time.Minute); c.Total != callers*each || c.Failed != c.Total || c.Slow != c.Total {
		t.Errorf("counts %+v, want %d of each", c, callers*each)
	}
	if c := b.Counts(3 * time.Hour); c.Total != 0 || c.Failed != 0 || c.Slow != 0 {
		t.Errorf("counts %+v after the window, want none", c)
	}
}

// TestBudgetUnderContention: the check and the count are one step.
func TestBudgetUnderContention(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{Ratio: 0.2, MinPerSecond: 0.1})
	for range 1000 {
		b.Request(0)
	}
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				token, ok := b.Withdraw(0)
				if !ok {
					continue
				}
				if made.Add(1) > 201 {
					t.Error("more retries than the budget at one time")
				}
				made.Add(-1)
				token.Return()
			}
		})
	}
	wg.Wait()
	if c := b.Counts(0); c.Withdrawn != 0 {
		t.Errorf("counts %+v, want no withdrawals after all were given back", c)
	}
}

// FuzzBreaker plays a sequence of calls. A rule: calls never depend on results that are neutral, an open breaker allows nothing before its
// time, and a half-open one decides.
func FuzzBreaker(f *testing.F) {
	f.Add([]byte{2, 2, 2, 2, 200, 1, 1, 1})
	f.Add([]byte{2, 2, 2, 2, 200, 0, 0, 2, 2, 255, 255, 1})
	f.Fuzz(func(t *testing.T, events []byte) {
		var now, openUntil time.Duration
		b, err := breaker.New(breaker.Config{MinVolume: 3, HalfOpen: 2, Open: time.Second, MaxOpen: 4 * time.Second, Random: func() uint64 { return 0 }})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			if event > 2 {
				now += time.Duration(event) * 10 * time.Millisecond
				continue
			}
			before := b.State(now)
			permit, ok := b.Allow(now)
			switch {
			case ok && now < openUntil:
				t.Fatalf("%v: allowed, open until %v", now, openUntil)
			case !ok && before != breaker.Open:
				t.Fatalf("%v: rejected in state %v with no trial in the air", now, before)
			}
			permit.Record(now, breaker.Result(event), 0)
			c := b.Counts(now)
			if c.Remaining > 0 {
				openUntil = now + c.Remaining
			}
			if c.Failed > c.Total || c.Remaining > 4*time.Second || c.Pending != 0 {
				t.Fatalf("%v: counts %+v", now, c)
			}
		}
	})
}
