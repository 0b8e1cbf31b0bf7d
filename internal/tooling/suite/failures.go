package suite

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Failures checks one promise and returns what it reports, nothing if it holds: a suite must notice a driver that is broken.
func (c Contract[R, A]) Failures(t *testing.T, name string) []string {
	t.Helper()
	at := slices.IndexFunc(c.Promises, func(p Promise[R, A]) bool { return p.Name == name })
	if at < 0 {
		t.Fatalf("there is no promise %q", name)
	}
	p, w := c.Promises[at], &Witness{}
	watched := func(t *testing.T) {
		w.TB = t
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.check(w, p, c.Open, &outcomes{})
		}()
		<-done
	}
	if c.bubbled(p) {
		synctest.Test(t, func(t *testing.T) {
			watched(t)
			time.Sleep(time.Minute) // what a broken driver does not end in time must have ended before the bubble does
		})
	} else {
		t.Run("real clock", watched)
	}
	return w.Said()
}
