package configtest

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/telemetry"
)

// poller returns the source as a Poller.
func (r *rig) poller() driver.Poller {
	p, ok := r.Source.(driver.Poller)
	if !ok {
		r.Fatal("the source is no Poller")
	}
	return p
}

func pollOnce(r *rig) {
	for _, text := range []string{"a: 1\n", "a: 2\n"} {
		r.Write(text)
		before := r.Requests()
		if _, err := r.read(); err != nil {
			r.Fatal(err)
		}
		if n := r.Requests() - before; n != 1 {
			r.Errorf("%d requests for one read of %q", n, text)
		}
	}
}

func pollPatience(r *rig) {
	p := r.poller()
	usual := p.Next(0)
	if usual <= 0 {
		r.Fatalf("Next(0) is %v", usual)
	}
	for failures := range 100 {
		if wait := p.Next(failures); wait < usual/2 || wait > 100*usual {
			r.Errorf("after %d failures it waits %v, and %v without any", failures, wait, usual)
		}
	}
	if later := p.Next(100); later < usual {
		r.Errorf("after 100 failures it waits %v, and %v without any", later, usual)
	}
}

// document is the configuration of the fixtures.
type document struct{ A int }

// run follows the source with a Config. Its Backoff is much shorter than the schedule of any sensible source.
func (r *rig) run() *config.Config[document] {
	r.Helper()
	cfg, err := config.Load[document](r.Context(), &config.Options{
		Sources: []config.Source{r.Source}, Timeout: time.Second, Backoff: 10 * time.Millisecond, MaxBackoff: 10 * time.Millisecond, Telemetry: telemetry.Off(),
	})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cfg.Run(ctx) }()
	r.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Error(err)
		}
	})
	return cfg
}

// until waits for a condition.
func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(r.Within); !holds(); r.pass(time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not within %v: %s", r.Within, what)
		}
	}
}

func runChanges(r *rig) {
	cfg := r.run()
	for i, text := range []string{"a: 2\n", "a: 3\n", "a: 4\n"} {
		r.Write(text)
		r.until(text, func() bool { return cfg.Get().A == i+2 })
	}
}

func runSchedule(r *rig) {
	cfg := r.run()
	for _, state := range []struct {
		name string
		set  func()
		is   func() bool
	}{
		{"well", func() { r.Write("a: 2\n") }, func() bool { return cfg.Get().A == 2 }},
		{"gone", r.Remove, func() bool { return errors.Is(cfg.Err(), driver.ErrNotFound) }},
		{"back", func() { r.Write("a: 3\n") }, func() bool { return cfg.Get().A == 3 && cfg.Err() == nil }},
	} {
		state.set()
		r.until(state.name, state.is)
		begun, before := time.Now(), r.Requests()
		r.pass(time.Second)
		if n, most := r.Requests()-before, int64(time.Since(begun).Seconds()*float64(r.Idle))+1; n > most {
			r.Errorf("%s: %d requests in %v, and %d may be", state.name, n, time.Since(begun), most)
		}
	}
}
