package suite

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// said returns the failures that a hook under Guard reports to the test that calls it.
func said(t *testing.T, hook func(testing.TB)) []string {
	t.Helper()
	w := &Witness{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Guard(w, "Revive", func() { hook(w) })
	}()
	<-done
	return w.Said()
}

// TestGuard: whatever a hook does to any test, the test that called the hook fails and reports why.
func TestGuard(t *testing.T) {
	for name, c := range map[string]struct {
		hook func(testing.TB)
		want string
	}{
		"returns":                {func(testing.TB) {}, ""},
		"fails the caller":       {func(t testing.TB) { t.Fatal("no port is left") }, "no port is left"},
		"ends another test":      {func(testing.TB) { runtime.Goexit() }, "the hook Revive ended another test"},
		"fails a completed test": {func(testing.TB) { panic("Fail in goroutine after TestX has completed") }, "the hook Revive failed: Fail in goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(said(t, c.hook), "\n")
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}

func TestGuarded(t *testing.T) {
	type backend struct {
		Kill, Pause func(testing.TB)
		Slow        func(testing.TB, time.Duration) string
		Requests    func() int64
		private     func(testing.TB)
	}
	var ran []string
	b := Guarded(backend{
		Kill:     func(testing.TB) { ran = append(ran, "kill") },
		Slow:     func(_ testing.TB, d time.Duration) string { return "slow by " + d.String() },
		Requests: func() int64 { return 7 },
		private:  func(testing.TB) { ran = append(ran, "private") },
	})
	b.Kill(t)
	b.private(t)
	if got := b.Slow(t, time.Second); !slices.Equal(ran, []string{"kill", "private"}) || got != "slow by 1s" || b.Requests() != 7 {
		t.Errorf("ran %q, Slow returned %q, Requests %d", ran, got, b.Requests())
	}
	if b.Pause != nil {
		t.Error("a hook that is nil became one")
	}
	b = Guarded(backend{Slow: func(testing.TB, time.Duration) string { panic("Fail in goroutine after TestX has completed") }})
	if got := strings.Join(said(t, func(t testing.TB) { b.Slow(t, 0) }), "\n"); !strings.Contains(got, "the hook Slow failed: Fail in goroutine") {
		t.Errorf("it says %q", got)
	}
}

func TestHooks(t *testing.T) {
	hook := func(testing.TB) {}
	hooks := HooksOf(struct {
		Cut, Heal, Kill, Revive, Drop, Pause, Resume func(testing.TB)
		Tap                                          error
		Record                                       string
	}{Cut: hook, Heal: hook, Kill: hook, Resume: hook, Tap: errors.New("an interface")})
	for phrase, want := range map[string]bool{
		"": true, "Cut": true, "Cut and Heal": true, "Cut, Heal and Tap": true,
		"Kill": false, "Drop": false, "Pause": false, "Resume": true, "Cut and Drop": false, "Cut, Kill and Heal": false, "Record": false, "Beside": false,
	} {
		if got := hooks.Have(phrase); got != want {
			t.Errorf("Have(%q) = %t", phrase, got)
		}
	}
}
