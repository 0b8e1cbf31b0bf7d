package suite

import (
	"runtime"
	"strings"
	"testing"
)

// said returns what a hook under Guard reports to the test that calls it.
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

// TestGuard: whatever a hook does to whichever test, the one that called it fails and says why.
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
	ran := false
	kill := func(testing.TB) { ran = true }
	var none func(testing.TB)
	Guarded(map[string]*func(testing.TB){"Kill": &kill, "Pause": &none})
	if kill(t); !ran || none != nil {
		t.Errorf("ran %t, and a hook that is nil became one: %t", ran, none != nil)
	}
}
