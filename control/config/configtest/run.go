package configtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/telemetry"
)

// poller returns the source as a Poller, or skips the test.
func (s *stage) poller() driver.Poller {
	p, ok := s.Source.(driver.Poller)
	if !ok {
		s.t.Skip("it has no schedule of its own")
	}
	return p
}

func pollOnce(t *testing.T, s *stage) {
	s.poller()
	if s.Requests == nil {
		t.Skip("its requests are not counted")
	}
	for _, text := range []string{"a: 1\n", "a: 2\n"} {
		s.Write(text)
		before := s.Requests()
		if _, err := s.read(); err != nil {
			t.Fatal(err)
		}
		if n := s.Requests() - before; n != 1 {
			t.Errorf("%d requests for one read of %q", n, text)
		}
	}
}

func pollPatience(t *testing.T, s *stage) {
	p := s.poller()
	usual := p.Next(0)
	if usual <= 0 {
		t.Fatalf("Next(0) is %v", usual)
	}
	for failures := range 100 {
		if wait := p.Next(failures); wait < usual/2 || wait > 100*usual {
			t.Errorf("after %d failures it waits %v, and %v without any", failures, wait, usual)
		}
	}
	if later := p.Next(100); later < usual {
		t.Errorf("after 100 failures it waits %v, and %v without any", later, usual)
	}
}

// document is what the fixtures hold.
type document struct{ A int }

// run follows the source with a Config whose own schedule is much shorter than any that a source should have.
func (s *stage) run() *config.Config[document] {
	s.t.Helper()
	cfg, err := config.Load[document](s.t.Context(), &config.Options{
		Sources: []config.Source{s.Source}, Timeout: time.Second, Backoff: 10 * time.Millisecond, MaxBackoff: 10 * time.Millisecond, Telemetry: telemetry.Off(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cfg.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	return cfg
}

// until waits for a condition.
func (s *stage) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(s.b.Within); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", s.b.Within, what)
		}
	}
}

func runChanges(_ *testing.T, s *stage) {
	cfg := s.run()
	for i, text := range []string{"a: 2\n", "a: 3\n", "a: 4\n"} {
		s.Write(text)
		s.until(text, func() bool { return cfg.Get().A == i+2 })
	}
}

func runSchedule(t *testing.T, s *stage) {
	s.poller()
	if s.Requests == nil || s.Remove == nil {
		t.Skip("it cannot fail, or its requests are not counted")
	}
	cfg := s.run()
	for _, state := range []struct {
		name string
		set  func()
		is   func() bool
	}{
		{"well", func() { s.Write("a: 2\n") }, func() bool { return cfg.Get().A == 2 }},
		{"gone", s.Remove, func() bool { return errors.Is(cfg.Err(), driver.ErrNotFound) }},
		{"back", func() { s.Write("a: 3\n") }, func() bool { return cfg.Get().A == 3 && cfg.Err() == nil }},
	} {
		state.set()
		s.until(state.name, state.is)
		begun, before := time.Now(), s.Requests()
		timer := time.NewTimer(time.Second)
		<-timer.C
		if n, most := s.Requests()-before, int64(time.Since(begun).Seconds()*float64(s.b.Idle))+1; n > most {
			t.Errorf("%s: %d requests in %v, and %d may be", state.name, n, time.Since(begun), most)
		}
	}
}
