package versions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// reportEvery is how often a Config repeats the report of its instance.
const reportEvery = 30 * time.Second

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withoutExpiry is an engine whose items do not expire.
type withoutExpiry struct{ *memkv.Driver }

func (e withoutExpiry) Capabilities() driver.Capabilities {
	c := e.Driver.Capabilities()
	c.Abilities &^= driver.Expiry
	return c
}

// staging is a layer with a rollout of version 2 at 50 percent.
type staging struct {
	*Layer
	t        *testing.T
	canary   string
	ordinary string
	skew     time.Duration // of the clocks of the instances
}

func newStaging(t *testing.T, d driver.Driver, skew time.Duration) *staging {
	t.Helper()
	off := telemetry.Off()
	store := kv.New(d, &kv.Options{Telemetry: off})
	t.Cleanup(func() { _ = store.Close() })
	v, err := New(store, "l", &Options{Telemetry: off})
	ok(t, err)
	_, err = v.Publish(t.Context(), Draft{Document: "a: 1\n", Format: config.YAML, Author: "ada"})
	ok(t, err)
	_, err = v.Stage(t.Context(), Draft{Document: "a: 2\n", Format: config.YAML, Author: "ada"}, 50)
	ok(t, err)
	r := &staging{Layer: v, t: t, skew: skew}
	head, err := v.Head(t.Context())
	ok(t, err)
	for i := 0; r.canary == "" || r.ordinary == ""; i++ {
		if name := fmt.Sprint("i", i); head.For(name) == 2 {
			r.canary = name
		} else {
			r.ordinary = name
		}
	}
	return r
}

// report writes a report as an instance with its own clock.
func (r *staging) report(name string, version, rejected int) {
	r.t.Helper()
	one := Instance{Name: name, Version: version, Rejected: rejected, Time: time.Now().Add(r.skew)}
	if rejected != 0 {
		one.Reason = "it does not start"
	}
	ok(r.t, r.log.report(r.t.Context(), one))
}

// keepReporting reports every 30 seconds until ctx ends.
func (r *staging) keepReporting(ctx context.Context, name string, version int) {
	for ctx.Err() == nil {
		r.report(name, version, 0)
		select {
		case <-time.After(reportEvery):
		case <-ctx.Done():
		}
	}
}

// runFor calls RunRollout for a time, and returns the reasons for its waits.
func (r *staging) runFor(d time.Duration, p Plan) (waits []string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	p.Author = "guide"
	p.OnWait = func(why string) { waits = append(waits, why) }
	begun := time.Now()
	err = r.RunRollout(ctx, p)
	return waits, time.Since(begun), err
}

var tenMinutes = []Stage{{50, 10 * time.Minute}}

// TestRunIgnoresClocks: instances whose clocks are fast or slow reject the candidate, and run it.
func TestRunIgnoresClocks(t *testing.T) {
	for _, skew := range []time.Duration{-9000 * time.Hour, -2 * time.Minute, 0, 2 * time.Minute, 9000 * time.Hour} {
		for name, engine := range map[string]func() driver.Driver{
			"expiry": func() driver.Driver { return memkv.New(nil) }, "no expiry": func() driver.Driver { return withoutExpiry{memkv.New(nil)} },
		} {
			t.Run(fmt.Sprint(name, skew), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newStaging(t, engine(), skew)
					r.report(r.ordinary, 1, 0)
					r.report(r.canary, 1, 2)
					if all, err := r.Instances(t.Context()); err != nil || len(all) != 2 {
						t.Errorf("instances: %v, %v", all, err)
					}
					if _, _, err := r.runFor(time.Hour, Plan{Stages: tenMinutes}); !errors.Is(err, ErrAborted) || !strings.Contains(err.Error(), r.canary+" rejects it") {
						t.Errorf("refused by a canary: %v", err)
					}
					_, err := r.Stage(t.Context(), Draft{Document: "a: 3\n", Format: config.YAML, Author: "ada"}, 99.99)
					ok(t, err)
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					go func() { defer close(done); r.keepReporting(ctx, r.canary, 3) }()
					r.report(r.ordinary, 3, 0)
					if _, took, err := r.runFor(time.Hour, Plan{Stages: []Stage{{99.99, 10 * time.Minute}}}); err != nil || took > 11*time.Minute {
						t.Errorf("run by the canaries: %v after %v", err, took)
					}
					cancel()
					<-done
				})
			})
		}
	}
}

// TestStageClock: a stage has its duration though the clock of the author is an hour fast or slow.
func TestStageClock(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := newStaging(t, memkv.New(nil), 0)
			head, at, err := r.log.head(t.Context())
			ok(t, err)
			head.Rollout.Steps[0].Time = time.Now().Add(skew)
			ok(t, r.log.move(t.Context(), head, at))
			_, took, err := r.runFor(5*time.Hour, Plan{Stages: tenMinutes, Health: func(context.Context) (Health, error) {
				return Health{Canary: Sample{Total: 1000}, Stable: Sample{Total: 1000}}, nil
			}})
			if err != nil || took < 10*time.Minute || took > 11*time.Minute {
				t.Errorf("skew %v: it took %v: %v", skew, took, err)
			}
		})
	}
}

// TestRunContinuesStage replaces a run after seven minutes. A stage of ten minutes takes hardly longer, and its time does not count for
// another candidate.
func TestRunContinuesStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newStaging(t, memkv.New(nil), 0)
		p := Plan{Stages: tenMinutes, Health: func(context.Context) (Health, error) {
			return Health{Canary: Sample{Total: 1000}, Stable: Sample{Total: 1000}}, nil
		}}
		if _, _, err := r.runFor(7*time.Minute, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour) // no RunRollout meanwhile
		if _, took, err := r.runFor(time.Hour, p); err != nil || took < 3*time.Minute || took > 4*time.Minute {
			t.Errorf("the second run took %v: %v", took, err)
		}
		_, err := r.Stage(t.Context(), Draft{Document: "a: 3\n", Format: config.YAML, Author: "ada"}, 50)
		ok(t, err)
		if _, took, err := r.runFor(time.Hour, p); err != nil || took < 10*time.Minute {
			t.Errorf("the next rollout took %v: %v", took, err)
		}
	})
}

// TestRunWaitsForCanaries: the rollout advances only after a canary reports the candidate. Before that there are no reports, then reports
// of other instances, then a canary with the old version.
func TestRunWaitsForCanaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newStaging(t, memkv.New(nil), 0)
		ctx, cancel := context.WithCancel(t.Context())
		steps := make(chan struct{})
		go func() {
			defer close(steps)
			for i := 0; ctx.Err() == nil; i++ {
				hours := time.Duration(i) * reportEvery / time.Hour
				if hours >= 24 {
					r.report(r.ordinary, 1, 0)
				}
				switch {
				case hours >= 48 && hours < 72:
					r.report(r.canary, 1, 0)
				case hours >= 96: // no reports for a day before
					r.report(r.canary, 2, 0)
				}
				time.Sleep(reportEvery)
			}
		}()
		waits, took, err := r.runFor(1000*time.Hour, Plan{Stages: tenMinutes})
		cancel()
		<-steps
		if err != nil || took < 96*time.Hour || took > 97*time.Hour {
			t.Errorf("it took %v: %v", took, err)
		}
		want := []string{"no canary reports: 0 instances report", "no canary reports: 1 instances report", r.canary + " does not run the candidate yet", "no canary reports: 1"}
		if len(waits) != len(want) {
			t.Fatalf("%q", waits)
		}
		for i := range want {
			if !strings.Contains(waits[i], want[i]) {
				t.Errorf("%q, want %q", waits[i], want[i])
			}
		}
	})
}

// TestInterruptedRun: the error of an interrupted run has the reason for its wait.
func TestInterruptedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := newStaging(t, memkv.New(nil), 0).runFor(time.Hour, Plan{Stages: tenMinutes})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the rollout waits: no canary reports") {
			t.Errorf("%v", err)
		}
	})
}

// TestOldReportsWithoutExpiry: an engine keeps the report of an instance that no longer exists. It does not count as a canary, but
// its rejection counts.
func TestOldReportsWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newStaging(t, withoutExpiry{memkv.New(nil)}, 0)
		r.report(r.canary, 2, 0)
		time.Sleep(24 * time.Hour)
		waits, _, err := r.runFor(24*time.Hour, Plan{Stages: tenMinutes})
		if !errors.Is(err, context.DeadlineExceeded) || len(waits) != 1 {
			t.Errorf("%q, %v", waits, err)
		}
		r.report(r.canary, 1, 2)
		time.Sleep(24 * time.Hour)
		if _, _, err = r.runFor(time.Hour, Plan{Stages: tenMinutes}); !errors.Is(err, ErrAborted) {
			t.Errorf("%v", err)
		}
	})
}

// TestProgressIsADuration: the time spent on a stage is stored as a duration.
func TestProgressIsADuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newStaging(t, memkv.New(nil), 0)
		_, _, _ = r.runFor(5*time.Minute, Plan{Stages: tenMinutes, Every: time.Second})
		found, err := r.log.store.Get(t.Context(), progressKey)
		ok(t, err)
		var p progress
		ok(t, json.Unmarshal(found.Value, &p))
		if p.Candidate != 2 || p.Percent != 50 || p.Spent < 4*time.Minute || p.Spent > 5*time.Minute {
			t.Errorf("%+v", p)
		}
	})
}

// TestDifferencesAreEscaped: a Difference has no control characters.
func TestDifferencesAreEscaped(t *testing.T) {
	for _, d := range []Difference{{Path: "a", Old: absent, New: "x\x1b[2J\r\ny\u202e"}, {Path: "a", Old: "\a\x00", New: "\xff\u009b"}} {
		for _, r := range d.String() {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has %q", d.String(), r)
			}
		}
	}
	if got := document.OneLine(`"hi" to C:\dir` + "\nand\ton"); got != `"hi" to C:\dir⏎and on` {
		t.Errorf("what prints is shown as %s", got)
	}
}
