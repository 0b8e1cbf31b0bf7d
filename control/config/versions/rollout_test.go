package versions_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestBuckets: a percentage selects about its share of the instances, and a larger one selects the same and more.
func TestBuckets(t *testing.T) {
	const instances = 10_000
	taken := make([]bool, instances)
	for _, percent := range []float64{0.5, 1, 5, 25, 50, 75, 99.5} {
		h := versions.Head{Stable: 1, Rollout: &versions.Rollout{Candidate: 2, Percent: percent}}
		n := 0
		for i := range taken {
			has := h.For(fmt.Sprintf("host-%d", i)) == 2
			if taken[i] && !has {
				t.Fatalf("at %v %%, host-%d lost the candidate that it had", percent, i)
			}
			taken[i] = has
			if has {
				n++
			}
		}
		share := float64(n) / instances * 100
		if share < percent*0.8-0.3 || share > percent*1.2+0.3 {
			t.Errorf("%v %% took %v %%", percent, share)
		}
	}
	h := versions.Head{Stable: 1, Rollout: &versions.Rollout{Candidate: 2, Percent: 99.9}}
	if h.For("") != 1 {
		t.Error("an instance without a name takes a candidate")
	}
	other := versions.Head{Stable: 1, Rollout: &versions.Rollout{Candidate: 3, Percent: 10}}
	both := 0
	h.Rollout.Percent = 10
	for i := range instances {
		if name := fmt.Sprintf("host-%d", i); h.For(name) == 2 && other.For(name) == 3 {
			both++
		}
	}
	if both > instances*3/100 {
		t.Errorf("%d of %d are canaries of two rollouts: always the same ones", both, instances)
	}
}

// fleet is a number of instances on one store.
type fleet struct {
	store   *kv.Store
	layer   *versions.Layer
	configs map[string]*config.Config[service]
	stops   []func()
}

// newFleet starts instances in a bubble, on version 1 (retries: 1).
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{store: kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()}), configs: map[string]*config.Config[service]{}}
	f.layer = versionsIn(t, f.store, nil)
	publish(t, f.layer, "retries: 1\n")
	for i := range n {
		name := fmt.Sprintf("orders-%d", i)
		f.configs[name] = load(t, versions.Published(f.store, &versions.PublishedOptions{Layers: []string{layer}, Instance: name}))
		f.stops = append(f.stops, configtesting.Start(t, f.configs[name]))
	}
	synctest.Wait()
	return f
}

func (f *fleet) close() {
	for _, stop := range f.stops {
		stop()
	}
	_ = f.store.Close()
}

// running counts the instances by version.
func (f *fleet) running() map[int]int {
	synctest.Wait()
	out := map[int]int{}
	for _, cfg := range f.configs {
		out[cfg.Get().Retries]++
	}
	return out
}

// actions returns the steps of a rollout.
func (f *fleet) actions(t *testing.T, candidate int) string {
	r, err := f.layer.Rollout(t.Context(), candidate)
	must(t, err)
	var words []string
	for _, s := range r.Steps {
		words = append(words, fmt.Sprintf("%s %v by %s", s.Action, s.Percent, s.Author))
	}
	return strings.Join(words, ", ")
}

var plan = versions.Plan{Author: "guide", Stages: []versions.Stage{{Percent: 10, For: 10 * time.Minute}, {Percent: 50, For: 10 * time.Minute}}}

// TestRollout takes each step by hand.
func TestRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 100)
		defer f.close()
		ctx := t.Context()
		for _, percent := range []float64{0, -1, 100, 101} {
			if _, err := f.layer.Stage(ctx, draft("retries: 2\n"), percent); !errors.Is(err, config.ErrInvalid) {
				t.Errorf("%v %%: %v", percent, err)
			}
		}
		if err := f.layer.Abort(ctx, "ada", "x"); !errors.Is(err, config.ErrNotFound) {
			t.Errorf("abort nothing: %v", err)
		}
		_, err := f.layer.Stage(ctx, draft("retries: 2\n"), 10)
		must(t, err)
		few := f.running()[2]
		if few < 3 || few > 20 {
			t.Errorf("10 %% of 100 instances are %d", few)
		}
		for what, err := range map[string]error{
			"publish": second(f.layer.Publish(ctx, draft("retries: 3\n"))), "stage": second(f.layer.Stage(ctx, draft("retries: 3\n"), 5)),
		} {
			if !errors.Is(err, config.ErrConflict) || !strings.Contains(err.Error(), "version 2 is being rolled out: promote or abort it first") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := f.layer.Advance(ctx, 5, "ada", ""); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("to shrink: %v", err)
		}
		must(t, f.layer.Advance(ctx, 50, "ada", "looks well"))
		if half := f.running()[2]; half < 35 || half > 65 {
			t.Errorf("50 %% of 100 instances are %d", half)
		}
		must(t, f.layer.Promote(ctx, "bob", "done"))
		if all := f.running()[2]; all != 100 {
			t.Errorf("%d of 100 have what was promoted", all)
		}
		if got := f.actions(t, 2); got != "start 10 by ada, advance 50 by ada, promote 100 by bob" {
			t.Error(got)
		}
		_, err = f.layer.Stage(ctx, draft("retries: 3\n"), 30)
		must(t, err, f.layer.Abort(ctx, "ada", "no"))
		if got := f.running(); got[2] != 100 {
			t.Errorf("after the abort: %v", got)
		}
		_, err = f.layer.Stage(ctx, draft("retries: 4\n"), 30)
		must(t, err)
		_, err = f.layer.Rollback(ctx, 1, "ada", "all of it was wrong")
		must(t, err)
		if got := f.running(); got[1] != 100 {
			t.Errorf("after the rollback during a rollout: %v", got)
		}
		if got := f.actions(t, 4); got != "start 30 by ada, abort 0 by ada" {
			t.Error(got)
		}
		if got := history(t, f.layer); got != "5<2 4<2 3<2 2<1 1<0" {
			t.Error(got)
		}
	})
}

// rollOut stages a candidate in a fleet and calls RunRollout for at most three hours.
func rollOut(t *testing.T, f *fleet, text string, p versions.Plan) (time.Duration, error) {
	t.Helper()
	_, err := f.layer.Stage(t.Context(), draft(text), 10)
	must(t, err)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
	defer cancel()
	err = f.layer.RunRollout(ctx, p)
	return time.Since(begun), err
}

// TestRunRollout: rollouts are promoted, aborted or held.
func TestRunRollout(t *testing.T) {
	well := versions.Health{Canary: versions.Sample{Total: 200, Failed: 1}, Stable: versions.Sample{Total: 2000, Failed: 10}}
	ill := versions.Health{Canary: versions.Sample{Total: 200, Failed: 20}, Stable: versions.Sample{Total: 2000, Failed: 10}}
	few := versions.Health{Canary: versions.Sample{Total: 20, Failed: 20}, Stable: versions.Sample{Total: 2000, Failed: 10}}
	for _, test := range []struct {
		name     string
		text     string
		health   func(looks int) (versions.Health, error) // nil: no signal
		want     error
		why      string
		within   [2]time.Duration
		instance map[int]int
		steps    string
	}{
		{"by the schedule alone", "retries: 2\n", nil, nil, "", [2]time.Duration{20 * time.Minute, 21 * time.Minute}, map[int]int{2: 20},
			"start 10 by ada, advance 50 by guide, promote 100 by guide"},
		{"well", "retries: 2\n", func(int) (versions.Health, error) { return well, nil }, nil, "", [2]time.Duration{20 * time.Minute, 21 * time.Minute}, map[int]int{2: 20},
			"start 10 by ada, advance 50 by guide, promote 100 by guide"},
		{"worse from the start", "retries: 2\n", func(int) (versions.Health, error) { return ill, nil }, versions.ErrAborted, "20 of 200 requests of the canaries failed",
			[2]time.Duration{30 * time.Second, 31 * time.Second}, map[int]int{1: 20}, "start 10 by ada, abort 0 by guide"},
		{"worse later", "retries: 2\n", func(n int) (versions.Health, error) {
			if n > 60 {
				return ill, nil
			}
			return well, nil
		}, versions.ErrAborted, "20 of 200", [2]time.Duration{15 * time.Minute, 16 * time.Minute}, map[int]int{1: 20}, "start 10 by ada, advance 50 by guide, abort 0 by guide"},
		{"one bad sample", "retries: 2\n", func(n int) (versions.Health, error) {
			if n%10 == 5 {
				return ill, nil
			}
			return well, nil
		}, nil, "", [2]time.Duration{20 * time.Minute, 21 * time.Minute}, map[int]int{2: 20}, "start 10 by ada, advance 50 by guide, promote 100 by guide"},
		{"too few to judge", "retries: 2\n", func(int) (versions.Health, error) { return few, nil }, context.DeadlineExceeded, "", [2]time.Duration{3 * time.Hour, 3 * time.Hour},
			nil, "start 10 by ada"},
		{"no signal", "retries: 2\n", func(int) (versions.Health, error) { return versions.Health{}, errors.New("monitor is down") }, context.DeadlineExceeded, "",
			[2]time.Duration{3 * time.Hour, 3 * time.Hour}, nil, "start 10 by ada"},
		{"refused by an instance", "retries: 99\n", nil, versions.ErrAborted, "rejects it: config: prod/application/orders@2:1: retries: invalid: must be at most 10",
			[2]time.Duration{15 * time.Second, 16 * time.Second}, map[int]int{1: 20}, "start 10 by ada, abort 0 by guide"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 20)
				defer f.close()
				p, looks := plan, 0
				if test.health != nil {
					p.Health = func(context.Context) (versions.Health, error) { looks++; return test.health(looks) }
				}
				took, err := rollOut(t, f, test.text, p)
				if !errors.Is(err, test.want) || test.why != "" && !strings.Contains(err.Error(), test.why) {
					t.Errorf("%v", err)
				}
				if took < test.within[0] || took > test.within[1] {
					t.Errorf("it took %v", took)
				}
				if got := f.running(); test.instance != nil && fmt.Sprint(got) != fmt.Sprint(test.instance) {
					t.Errorf("instances: %v", got)
				}
				if got := f.actions(t, 2); got != test.steps {
					t.Errorf("%s", got)
				}
			})
		})
	}
}

// TestRunRolloutContinues: a second RunRollout continues after the first ends, and ends when another caller aborts the rollout.
func TestRunRolloutContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 20)
		defer f.close()
		_, err := f.layer.Stage(t.Context(), draft("retries: 2\n"), 10)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
		defer cancel()
		if err := f.layer.RunRollout(ctx, plan); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		begun := time.Now()
		must(t, f.layer.RunRollout(t.Context(), plan))
		if took := time.Since(begun); took > 9*time.Minute {
			t.Errorf("the second RunRollout restarted the stage: it took %v", took)
		}
		_, err = f.layer.Stage(t.Context(), draft("retries: 3\n"), 10)
		must(t, err)
		done := make(chan error, 1)
		go func() { done <- f.layer.RunRollout(t.Context(), plan) }()
		time.Sleep(time.Minute)
		must(t, f.layer.Abort(t.Context(), "ada", "no"))
		if err := <-done; !errors.Is(err, versions.ErrAborted) {
			t.Errorf("aborted by hand: %v", err)
		}
		if err := f.layer.RunRollout(t.Context(), plan); !errors.Is(err, config.ErrNotFound) {
			t.Errorf("no rollout: %v", err)
		}
		for _, p := range []versions.Plan{{}, {Author: "x", Worse: 0.5}, {Author: "x", Stages: []versions.Stage{{Percent: 5}, {Percent: 5}}}} {
			if err := f.layer.RunRollout(t.Context(), p); !errors.Is(err, config.ErrInvalid) {
				t.Errorf("%+v: %v", p, err)
			}
		}
	})
}

// TestPlansThatCannotWork: each mistake of a Plan is named.
func TestPlansThatCannotWork(t *testing.T) {
	v := versionsIn(t, newStore(t, memkv.New(nil)), nil)
	for want, p := range map[string]versions.Plan{
		"Plan.Author is missing":                        {},
		"Plan.Every is -1s":                             {Author: "x", Every: -time.Second},
		"Plan.BadInARow is -1":                          {Author: "x", BadInARow: -1},
		"Plan.Worse is -1":                              {Author: "x", Worse: -1},
		"Plan.Worse is 0.5: give at least 1":            {Author: "x", Worse: 0.5},
		"Plan.Worse is NaN":                             {Author: "x", Worse: math.NaN()},
		"Plan.Worse is +Inf":                            {Author: "x", Worse: math.Inf(1)},
		"Plan.Margin is 2: give a share of at most 1":   {Author: "x", Margin: 2},
		"Plan.Margin is +Inf":                           {Author: "x", Margin: math.Inf(1)},
		"Plan.Margin is NaN":                            {Author: "x", Margin: math.NaN()},
		"Plan.Margin is -0.1":                           {Author: "x", Margin: -0.1},
		"Plan.Stages[1].Percent is 5: give more than 5": {Author: "x", Stages: []versions.Stage{{Percent: 5}, {Percent: 5}}},
		"Plan.Stages[0].Percent is NaN":                 {Author: "x", Stages: []versions.Stage{{Percent: math.NaN()}}},
		"Plan.Stages[0].For is -1s":                     {Author: "x", Stages: []versions.Stage{{Percent: 5, For: -time.Second}}},
	} {
		if err := v.RunRollout(t.Context(), p); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestHistoryOfMany reads a history that spans several pages, and stops in the middle of one.
func TestHistoryOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 0)
		defer f.close()
		for range 40 {
			publish(t, f.layer, "retries: 1\n")
		}
		n := 0
		for one, err := range f.layer.History(t.Context()) {
			must(t, err)
			if one.Number != 41-n {
				t.Fatalf("version %d comes as number %d of the history", one.Number, n)
			}
			if n++; n == 20 {
				break
			}
		}
	})
}
