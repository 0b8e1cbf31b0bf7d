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

func newThrottle(t *testing.T, c breaker.ThrottleConfig) *breaker.Throttle {
	t.Helper()
	if c.Random == nil {
		c.Random = rand.New(rand.NewPCG(1, 2)).Uint64
	}
	throttle, err := breaker.NewThrottle(c)
	if err != nil {
		t.Fatal(err)
	}
	return throttle
}

// offer sends n requests evenly within a span of time to a service that accepts this share, and returns how many were sent.
func offer(throttle *breaker.Throttle, from, span time.Duration, n int, accepted func() bool) (sent int) {
	for i := range n {
		now := from + span*time.Duration(i)/time.Duration(n)
		if throttle.Allow(now) {
			sent++
			throttle.Record(now, accepted())
		}
	}
	return sent
}

func TestThrottlePassesWhatAHealthyServiceAccepts(t *testing.T) {
	throttle := newThrottle(t, breaker.ThrottleConfig{})
	i := 0
	sent := offer(throttle, 0, time.Minute, 10_000, func() bool { i++; return i%5 < 3 }) // K is 2: a half may fail
	if sent != 10_000 {
		t.Errorf("%d of 10000 requests were sent, want all while three of five are accepted", sent)
	}
}

// TestThrottleConverges: a service that can serve a fixed rate gets no more than about twice that (K), and never less than it can serve.
func TestThrottleConverges(t *testing.T) {
	for _, capacity := range []int{80, 50, 20} { // of 200 requests a second
		throttle := newThrottle(t, breaker.ThrottleConfig{})
		sent, served := 0, 0
		for second := range 600 {
			left := capacity
			n := offer(throttle, time.Duration(second)*time.Second, time.Second, 200, func() bool { left--; return left >= 0 })
			if second >= 300 {
				sent += n
				served += capacity - max(left, 0)
			}
		}
		if load := float64(sent) / float64(300*capacity); load < 1.5 || load > 2.3 {
			t.Errorf("capacity %d: %v times the capacity was sent, want about twice", capacity, load)
		}
		if share := float64(served) / float64(300*capacity); share < 0.99 {
			t.Errorf("capacity %d: only %v of it was used", capacity, share)
		}
	}
}

func TestThrottleCountsItsOwnRejections(t *testing.T) {
	throttle := newThrottle(t, breaker.ThrottleConfig{MinVolume: 1, Random: func() uint64 { return 0 }})
	throttle.Record(0, false)
	for range 9 {
		if throttle.Allow(0) {
			t.Fatal("allowed although nothing was ever accepted")
		}
	}
	if c := throttle.Counts(0); c.Requests != 10 || c.Accepts != 0 || c.Rejected != 9 || c.Probability != 10.0/11 {
		t.Errorf("counts %+v, want 10 requests, of which 9 were rejected here", c)
	}
}

func TestThrottleForcesAPassEachSecond(t *testing.T) {
	throttle := newThrottle(t, breaker.ThrottleConfig{Random: func() uint64 { return 0 }})
	offer(throttle, 0, time.Second, 100, func() bool { return false })
	sent := offer(throttle, time.Second, 10*time.Second, 10_000, func() bool { return false })
	if sent != 10 {
		t.Errorf("%d requests were sent in 10 s to a service that is away, want 10", sent)
	}
}

func TestThrottleRecovers(t *testing.T) {
	throttle := newThrottle(t, breaker.ThrottleConfig{})
	offer(throttle, 0, 5*time.Minute, 50_000, func() bool { return false })
	offer(throttle, 5*time.Minute, time.Minute, 10_000, func() bool { return true })
	sent := offer(throttle, 6*time.Minute, time.Minute, 10_000, func() bool { return true })
	if sent < 9900 {
		t.Errorf("%d of 10000 requests were sent one minute after the end of an outage, want nearly all", sent)
	}
}

func TestThrottleSetConfig(t *testing.T) {
	throttle := newThrottle(t, breaker.ThrottleConfig{})
	offer(throttle, 0, time.Second, 100, func() bool { return false })
	before := throttle.Counts(time.Second)
	if err := throttle.SetConfig(time.Second, breaker.ThrottleConfig{Window: time.Minute, MinVolume: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	if c := throttle.Counts(time.Second); c.Requests != before.Requests || c.Probability != 0 || !throttle.Allow(time.Second) {
		t.Errorf("counts %+v, want the %d requests and no rejection below the volume", c, before.Requests)
	}
}

func TestThrottleInvalid(t *testing.T) {
	for want, c := range map[string]breaker.ThrottleConfig{
		"ThrottleConfig.K is 1: give more than 1, or a healthy service is throttled":             {K: 1},
		"ThrottleConfig.K is +Inf: give a finite value, or 0 for the default, 2":                 {K: math.Inf(1)},
		"ThrottleConfig.Window is 1ns: give at least 10ms":                                       {Window: 1},
		"ThrottleConfig.MinVolume is -1: give a positive value, or 0 for the default, 20":        {MinVolume: -1},
		"ThrottleConfig.ForcePass is -1ns: give a positive value, or 0 for the default, " + "1s": {ForcePass: -1},
	} {
		if _, err := breaker.NewThrottle(c); !errors.Is(err, fault.Invalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}
