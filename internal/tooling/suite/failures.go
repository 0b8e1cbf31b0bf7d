package suite

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Failures checks one promise and returns its failures; none means that it holds. With it, a suite tests that it notices a broken driver.
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
			time.Sleep(time.Minute) // work that a broken driver does not end in time must end before the bubble does
		})
	} else {
		t.Run("real clock", watched)
	}
	return w.Said()
}
