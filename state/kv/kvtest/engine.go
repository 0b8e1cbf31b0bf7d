package kvtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

// Awake waits until a driver reaches its engine again. It is for a Restart hook.
func Awake(t testing.TB, d driver.Driver) {
	t.Helper()
	var err error
	for began := time.Now(); time.Since(began) < patience; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = d.Get(ctx, "awake")
		if errors.Is(err, driver.ErrNotFound) {
			err = nil
		}
		cancel()
		if err == nil {
			return
		}
		pause(t, 20*time.Millisecond)
	}
	t.Fatalf("the engine does not answer within %s: %v", patience, err)
}

func pause(t testing.TB, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// NeverThere checks a driver whose engine was never reachable. Each call returns, within its context, an error with its operation and
// key. NeverThere closes the driver.
func NeverThere(t testing.TB, d driver.Driver) {
	t.Helper()
	s := kv.New(d, nil)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, got := s.Get(ctx, "cart")
	_, put := s.Put(ctx, "cart", []byte("x"), kv.TTL(time.Hour))
	for begins, err := range map[string]error{
		`kv: get "cart": `:    got,
		`kv: put "cart": `:    put,
		`kv: delete "cart": `: s.Delete(ctx, "cart"),
		"kv: ping: ":          s.Ping(ctx),
	} {
		if !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), begins) {
			t.Errorf("got %v, want %s… with ErrUnavailable or the end of the context", err, begins)
		}
	}
}
