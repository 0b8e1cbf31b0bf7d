package suite

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

// Run checks every promise, each in a subtest.
func (c Contract[R, A]) Run(t *testing.T) Results {
	t.Helper()
	var o outcomes
	var together, alone []Promise[R, A]
	for _, p := range c.Promises {
		if p.Together && !c.FakeClock {
			together = append(together, p)
		} else {
			alone = append(alone, p)
		}
	}
	c.runTogether(t, together, &o)
	for _, p := range alone {
		t.Run(p.Name, func(t *testing.T) { c.runAlone(t, p, &o) })
	}
	return o.results(c.names())
}

func (c Contract[R, A]) names() (all []string) {
	for _, p := range c.Promises {
		all = append(all, p.Name)
	}
	return all
}

// runAlone checks a promise while no other promise runs.
func (c Contract[R, A]) runAlone(t *testing.T, p Promise[R, A], o *outcomes) {
	if c.bubbled(p) {
		synctest.Test(t, func(t *testing.T) { c.check(t, p, c.Open, o) })
		return
	}
	p.skip(t)
	before := goleak.IgnoreCurrent()
	if c.OpensForTest {
		t.Cleanup(func() { c.leaked(t, before, "") })
		c.check(t, p, c.Open, o)
		return
	}
	c.check(t, p, c.Open, o)
	c.leaked(t, before, "")
}

func (c Contract[R, A]) bubbled(p Promise[R, A]) bool { return c.FakeClock && !p.RealClock }

// maxConcurrent is how many promises are checked at the same time. More would take processor time from those that measure time.
const maxConcurrent = 16

// runTogether checks promises at the same time. It looks for leaked goroutines when all have ended.
func (c Contract[R, A]) runTogether(t *testing.T, promises []Promise[R, A], o *outcomes) {
	if len(promises) == 0 {
		return
	}
	t.Helper()
	before := goleak.IgnoreCurrent()
	open, end := c.Open, func() {}
	if c.Share != nil {
		open, end = c.Share(t)
	}
	var group sync.WaitGroup
	free := make(chan struct{}, maxConcurrent)
	for _, p := range promises {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			t.Run(p.Name, func(t *testing.T) { c.check(t, p, open, o) }) // not t.Parallel, which -parallel and the processors limit
		})
	}
	group.Wait()
	end()
	var names []string
	for _, p := range promises {
		names = append(names, p.Name)
	}
	c.leaked(t, before, "left behind by one of these promises, which ran at the same time: "+strings.Join(names, "; ")+": ")
}

// leaked fails the test if new goroutines remain.
func (c Contract[R, A]) leaked(t *testing.T, before goleak.Option, whose string) {
	t.Helper()
	ignored := []goleak.Option{before}
	for _, name := range c.Bystanders {
		ignored = append(ignored, goleak.IgnoreAnyFunction(name))
	}
	if err := goleak.Find(ignored...); err != nil {
		t.Errorf("%s%v", whose, err)
	}
}

// check opens a rig and checks a promise with it.
func (c Contract[R, A]) check(t testing.TB, p Promise[R, A], open func(testing.TB) R, o *outcomes) {
	r := open(t)
	defer r.Close()
	if !r.Has(p.Needs) {
		o.set(p.Name, outcome{refused: true})
		return
	}
	if !r.Hooks().Have(p.Hook) {
		o.set(p.Name, outcome{hook: p.Hook})
		t.Skipf("the Backend has no hook %s", p.Hook)
	}
	p.Check(r)
	if !t.Failed() {
		o.set(p.Name, outcome{})
	}
}
