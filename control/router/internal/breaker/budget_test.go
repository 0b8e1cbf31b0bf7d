package breaker_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/internal/fault"
)

func newBudget(t *testing.T, c breaker.BudgetConfig) *breaker.Budget {
	t.Helper()
	b, err := breaker.NewBudget(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBudgetOfASteadyClient(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{Ratio: 0.2, MinPerSecond: 1})
	retries := 0
	for ms := range 100_000 { // a request each millisecond, and all want a retry
		now := time.Duration(ms) * time.Millisecond
		b.Request(now)
		if _, ok := b.Withdraw(now); ok {
			retries++
		}
	}
	if share := float64(retries) / 100_000; share > 0.2+0.0011 || share < 0.18 {
		t.Errorf("%d retries of 100000 requests, want close to a fifth and never more", retries)
	}
}

func TestBudgetMinimum(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{Ratio: 0.1, MinPerSecond: 2, Window: 5 * time.Second})
	for i := range 10 {
		if _, ok := b.Withdraw(0); !ok {
			t.Fatalf("retry %d was refused, want 10: two a second for five seconds", i+1)
		}
	}
	if _, ok := b.Withdraw(5*time.Second - 1); ok {
		t.Error("the eleventh retry within the window was allowed")
	}
	if _, ok := b.Withdraw(6 * time.Second); !ok {
		t.Error("no retry after the window")
	}
}

func TestBudgetTokenReturn(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{MinPerSecond: 0.1})
	token, ok := b.Withdraw(500 * time.Millisecond)
	if !ok {
		t.Fatal("the first retry was refused")
	}
	if _, ok := b.Withdraw(5 * time.Second); ok {
		t.Fatal("a second retry was allowed")
	}
	token.Return()
	token.Return() // does nothing
	if _, ok := b.Withdraw(5 * time.Second); !ok {
		t.Fatal("no retry after one was given back")
	}
	for now := 5 * time.Second; now < 15*time.Second; now += 250 * time.Millisecond {
		if _, ok := b.Withdraw(now); ok {
			t.Fatalf("%v: the token that was given back counts again", now)
		}
	}
}

func TestBudgetTokenReturnAfterTheWindow(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{MinPerSecond: 0.1})
	token, _ := b.Withdraw(0)
	if _, ok := b.Withdraw(time.Minute); !ok {
		t.Fatal("no retry in the next minute")
	}
	token.Return()
	if _, ok := b.Withdraw(time.Minute); ok {
		t.Error("a token of an earlier window pays for another retry")
	}
	var none breaker.Token
	none.Return()
}

// TestBudgetNeverOvershoots: whatever the traffic is, no window holds more retries than the window before the last of them has earned.
// envoyproxy/envoy#30205 is a budget that retries in backoff overshoot.
func TestBudgetNeverOvershoots(t *testing.T) {
	const ratio, minimum, window = 0.2, 0.5, 10 * time.Second
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBudget(t, breaker.BudgetConfig{Ratio: ratio, MinPerSecond: minimum, Window: window})
		var requests, retries []time.Duration
		now := time.Duration(0)
		for range 5000 {
			now += time.Duration(random.Int64N(int64(40 * time.Millisecond)))
			if random.IntN(500) == 0 {
				now += time.Duration(random.Int64N(int64(2 * window)))
			}
			if random.IntN(3) > 0 {
				b.Request(now)
				requests = append(requests, now)
				continue
			}
			token, ok := b.Withdraw(now)
			switch {
			case !ok:
			case random.IntN(4) == 0:
				token.Return()
			default:
				retries = append(retries, now)
				made, earned := within(retries, now, window), within(requests, now, window)
				if float64(made) > ratio*float64(earned)+minimum*window.Seconds() {
					t.Fatalf("seed %d, %v: %d retries in a window of %d requests", seed, now, made, earned)
				}
			}
		}
	}
}

// within returns how many of the times are in the window that ends now.
func within(times []time.Duration, now, window time.Duration) (n int) {
	for i := len(times) - 1; i >= 0 && times[i] > now-window; i-- {
		n++
	}
	return n
}

func TestBudgetSetConfig(t *testing.T) {
	b := newBudget(t, breaker.BudgetConfig{Ratio: 0.5, MinPerSecond: 0.1})
	for range 100 {
		b.Request(0)
	}
	for range 40 {
		b.Withdraw(0)
	}
	if err := b.SetConfig(0, breaker.BudgetConfig{Ratio: 0.1, MinPerSecond: 0.1}); err != nil {
		t.Fatal(err)
	}
	_, ok := b.Withdraw(0)
	if c := b.Counts(0); ok || c.Requests != 100 || c.Withdrawn != 40 || c.Allowance != 11 || c.Refused != 1 {
		t.Errorf("allowed %v, counts %+v; want a refusal, since 40 of 11 are spent", ok, c)
	}
}

func TestBudgetInvalid(t *testing.T) {
	for want, c := range map[string]breaker.BudgetConfig{
		"BudgetConfig.Ratio is -0.1: give a positive value, or 0 for the default, 0.2":     {Ratio: -0.1},
		"BudgetConfig.Ratio is +Inf: give a finite value, or 0 for the default, 0.2":       {Ratio: math.Inf(1)},
		"BudgetConfig.MinPerSecond is NaN: give a positive value, or 0 for the default, 3": {MinPerSecond: math.NaN()},
		"BudgetConfig.Window is 9ms: give at least 10ms":                                   {Window: 9 * time.Millisecond},
	} {
		if _, err := breaker.NewBudget(c); !errors.Is(err, fault.Invalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}
