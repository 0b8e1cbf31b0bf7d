package breaker_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/internal/fault"
)

func TestConcurrency(t *testing.T) {
	var c breaker.Concurrency
	for range 100 {
		if !c.Acquire() {
			t.Fatal("refused without a limit")
		}
	}
	if err := c.SetLimit(101); err != nil {
		t.Fatal(err)
	}
	if !c.Acquire() || c.Acquire() {
		t.Error("calls that began without a limit do not count")
	}
	if err := c.SetLimit(2); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.Release()
		if n := c.Counts().InFlight; c.Acquire() != (n < 2) {
			t.Fatalf("limit 2 at %d in flight", n)
		} else if n < 2 {
			c.Release()
		}
	}
	if got := c.Counts(); got.InFlight != 1 || got.Limit != 2 || got.Rejected == 0 {
		t.Errorf("counts %+v", got)
	}
	if err := c.SetLimit(-1); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func TestConcurrencyIsNeverExceeded(t *testing.T) {
	var c breaker.Concurrency
	if err := c.SetLimit(3); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				if c.Acquire() {
					if n := c.Counts().InFlight; n > 3 {
						t.Errorf("%d in flight, the limit is 3", n)
					}
					c.Release()
				}
			}
		})
	}
	wg.Wait()
	if n := c.Counts().InFlight; n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
}

func TestRateLimit(t *testing.T) {
	l, err := breaker.NewRateLimit(breaker.RateConfig{PerSecond: 10, Burst: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, ok := l.Allow(0); !ok {
			t.Fatal("refused within the burst")
		}
	}
	wait, ok := l.Allow(40 * time.Millisecond)
	if ok || wait < 59*time.Millisecond || wait > 61*time.Millisecond {
		t.Fatalf("allowed %v, wait %v; want a refusal and 60ms", ok, wait)
	}
	if _, ok := l.Allow(40*time.Millisecond + wait); !ok {
		t.Error("refused after the wait that was suggested")
	}
	allowed := 0
	for ms := range 10_000 {
		if _, ok := l.Allow(time.Second + time.Duration(ms)*time.Millisecond); ok {
			allowed++
		}
	}
	if allowed < 100 || allowed > 102 {
		t.Errorf("%d allowed in 10 s at 10 a second", allowed)
	}
	if err := l.SetConfig(time.Hour, breaker.RateConfig{PerSecond: 1}); err != nil {
		t.Fatal(err)
	}
	if c := l.Counts(time.Hour); c.Tokens != 1 || c.Rejected == 0 {
		t.Errorf("counts %+v, want one token, the new burst", c)
	}
}

func TestRateInvalid(t *testing.T) {
	for want, c := range map[string]breaker.RateConfig{
		"RateConfig.PerSecond is 0: give the requests a second, above 0":                 {},
		"RateConfig.PerSecond is NaN: give the requests a second, above 0":               {PerSecond: math.NaN()},
		"RateConfig.PerSecond is +Inf: give the requests a second, above 0":              {PerSecond: math.Inf(1)},
		"RateConfig.Burst is -1: give a positive value, or 0 for the default, PerSecond": {PerSecond: 1, Burst: -1},
	} {
		_, err := breaker.NewRateLimit(c)
		_, keyed := breaker.NewKeyedRateLimit(breaker.KeyedConfig{RateConfig: c})
		for _, err := range []error{err, keyed, c.Validate()} {
			if !errors.Is(err, fault.Invalid) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
	c := breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1}, MaxKeys: -1}
	if err := c.Validate(); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func newKeyed(t *testing.T, c breaker.KeyedConfig) *breaker.KeyedRateLimit {
	t.Helper()
	l, err := breaker.NewKeyedRateLimit(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestKeyedRateLimit(t *testing.T) {
	l := newKeyed(t, breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1, Burst: 3}})
	for range 3 {
		for _, key := range []string{"a", "b"} {
			if _, ok := l.Allow(0, key); !ok {
				t.Fatalf("%s was refused within its burst", key)
			}
		}
	}
	if wait, ok := l.Allow(0, "a"); ok || wait != time.Second {
		t.Errorf("allowed %v, wait %v; want a refusal and 1s", ok, wait)
	}
	if c := l.Counts(); c.Keys != 2 || c.Rejected != 1 {
		t.Errorf("counts %+v", c)
	}
}

// TestKeyedRateLimitUnderAttack: a flood of keys must not grow memory, and must not give a key that has used up its burst another one.
func TestKeyedRateLimitUnderAttack(t *testing.T) {
	l := newKeyed(t, breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1, Burst: 5}, MaxKeys: 100})
	for range 5 {
		l.Allow(0, "victim")
	}
	allowed := 0
	for i := range 20_000 {
		if _, ok := l.Allow(time.Second, fmt.Sprint("attacker ", i)); ok {
			allowed++
		}
	}
	if c := l.Counts(); c.Keys != 100 {
		t.Errorf("%d keys are kept, want 100", c.Keys)
	}
	if allowed != 99+5 {
		t.Errorf("%d calls with new keys were allowed, want the 99 that are kept and a burst of 5", allowed)
	}
	if _, ok := l.Allow(time.Second, "victim"); !ok {
		t.Error("the token that the known key earned since is lost")
	}
	if _, ok := l.Allow(time.Second, "victim"); ok {
		t.Error("the known key has a new burst")
	}
	for i := range 100 { // all are idle by now: new keys take the places
		if _, ok := l.Allow(time.Minute, fmt.Sprint("later ", i)); !ok {
			t.Fatalf("a new key was refused although %d idle ones can be forgotten", 100-i)
		}
	}
}

// TestKeyedRateLimitForgetsTheIdleKey: a key in use does not keep an idle one from being forgotten.
func TestKeyedRateLimitForgetsTheIdleKey(t *testing.T) {
	l := newKeyed(t, breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1, Burst: 1}, MaxKeys: 2})
	for _, key := range []string{"in use", "idle"} {
		l.Allow(0, key)
	}
	for _, key := range []string{"in use", "takes the place", "shares a bucket"} {
		if _, ok := l.Allow(10*time.Second, key); !ok {
			t.Errorf("%q was refused, want its first call allowed", key)
		}
	}
	if _, ok := l.Allow(10*time.Second, "shares it, too"); ok {
		t.Error("the shared bucket has more than its burst")
	}
}

func TestKeyedRateLimitSetConfig(t *testing.T) {
	c := breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: 1, Burst: 1}, MaxKeys: 10}
	l := newKeyed(t, c)
	for i := range 10 {
		l.Allow(0, fmt.Sprint(i))
	}
	c.PerSecond, c.MaxKeys = 1000, 3
	if err := l.SetConfig(0, c); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Allow(time.Millisecond, "3"); !ok {
		t.Error("a known key does not have the new rate")
	}
	l.Allow(time.Second, "new")
	if n := l.Counts().Keys; n != 3 {
		t.Errorf("%d keys, want the new maximum, 3", n)
	}
}
