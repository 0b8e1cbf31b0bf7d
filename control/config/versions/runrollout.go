package versions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv"
)

// Sample counts requests since the previous sample.
type Sample struct {
	// Total is the number of requests, or of other operations that can fail.
	Total uint64
	// Failed is the number of those that failed.
	Failed uint64
}

// Health compares the instances that run the candidate with the others. It comes from the application's telemetry, where the attribute
// goos.config.version separates the two.
type Health struct {
	// Canary counts the requests of the instances that run the candidate.
	Canary Sample
	// Stable counts the requests of all other instances.
	Stable Sample
}

// Stage is one stage of a Plan.
type Stage struct {
	// Percent of the instances that take the candidate during the stage, above 0. 100 or more ends the rollout. Required.
	Percent float64
	// For is the minimum duration of the stage, measured by the clock of the process that calls RunRollout. Time during which no call
	// was running does not count. Default: none; the stage ends at the first good check.
	For time.Duration
}

// The defaults of Plan.
const (
	DefaultMinSample    = 100
	DefaultWorse        = 1.5
	DefaultMargin       = 0.01
	DefaultBadInARow    = 2
	DefaultHealthWindow = 15 * time.Second
)

// DefaultStages returns the stages of a Plan that has none: 5, 25 and 50 percent, ten minutes each.
func DefaultStages() []Stage {
	return []Stage{{5, 10 * time.Minute}, {25, 10 * time.Minute}, {50, 10 * time.Minute}}
}

// Plan describes how RunRollout advances a rollout.
type Plan struct {
	// Author of the steps, such as the name of the calling program. Required.
	Author string
	// Stages of the rollout, with growing percentages. Stages that the rollout has already passed are skipped. After the last stage the
	// candidate is promoted. A rollout that Stage started at 60 % thus skips all of DefaultStages: the first good check promotes it.
	// Default: DefaultStages.
	Stages []Stage
	// Health returns the latest samples. It is called once in each interval of Every. An error means that the health is unknown: the
	// rollout waits, since a broken monitor is a reason neither to advance nor to abort. Default: none; then the reports of the
	// instances decide.
	Health func(context.Context) (Health, error)
	// OnWait is called with the reason when a stage is over and the rollout must wait, and again when the reason changes. The event
	// goos.config.rollout.held carries the same reason. Default: none.
	OnWait func(why string)
	// Every is the interval between two checks of the instances and of Health. Default: DefaultHealthWindow.
	Every time.Duration
	// MinSample is the number of requests of the canaries that a judgement needs. Default: DefaultMinSample.
	MinSample uint64
	// Worse is the factor by which the share of failures of the canaries may exceed that of the others, at least 1 and finite. The
	// canaries are bad when their share is above Worse times that of the others, plus Margin. Default: DefaultWorse.
	Worse float64
	// Margin is the additional share of failures, up to 1, that is tolerated: 0.02 is two percent. Default: DefaultMargin.
	Margin float64
	// BadInARow is the number of consecutive bad samples that aborts the rollout. Default: DefaultBadInARow.
	BadInARow int
}

// withDefaults returns the plan with defaults in place of zeros, or ErrInvalid if it cannot work.
func (p Plan) withDefaults() (Plan, error) {
	if p.Stages == nil {
		p.Stages = DefaultStages()
	}
	p.MinSample = cmp.Or(p.MinSample, DefaultMinSample)
	err := errors.Join(
		defaults.Fill("versions.Plan.Every", &p.Every, DefaultHealthWindow),
		defaults.Fill("versions.Plan.BadInARow", &p.BadInARow, DefaultBadInARow),
		defaults.Fill("versions.Plan.Worse", &p.Worse, DefaultWorse),
		defaults.Fill("versions.Plan.Margin", &p.Margin, DefaultMargin),
		p.check(),
	)
	return p, err
}

// check returns ErrInvalid if the author is missing, if Worse or Margin is out of its range, or if the stages do not grow.
func (p Plan) check() error {
	if p.Author == "" {
		return fmt.Errorf("%w: versions.Plan.Author is missing: name the program that runs the rollout", config.ErrInvalid)
	}
	if p.Worse > 0 && p.Worse < 1 || math.IsInf(p.Worse, 1) {
		return fmt.Errorf("%w: versions.Plan.Worse is %v: give at least 1, and a finite number", config.ErrInvalid, p.Worse)
	}
	if p.Margin > 1 {
		return fmt.Errorf("%w: versions.Plan.Margin is %v: give a share of at most 1, such as 0.02 for two percent", config.ErrInvalid, p.Margin)
	}
	last := 0.0
	for i, s := range p.Stages {
		switch {
		case !(s.Percent > last): // NaN does not grow
			return fmt.Errorf("%w: versions.Plan.Stages[%d].Percent is %v: give more than %v", config.ErrInvalid, i, s.Percent, last)
		case s.For < 0:
			return fmt.Errorf("%w: versions.Plan.Stages[%d].For is %v: give a positive duration, or 0", config.ErrInvalid, i, s.For)
		}
		last = s.Percent
	}
	return nil
}

// verdict is the judgement of a sample.
type verdict int

const (
	unknown verdict = iota
	good
	bad
)

func (p Plan) judge(h Health) verdict {
	if h.Canary.Total < p.MinSample || h.Canary.Total == 0 {
		return unknown
	}
	share := func(s Sample) float64 {
		if s.Total == 0 {
			return 0
		}
		return float64(s.Failed) / float64(s.Total)
	}
	if share(h.Canary) > share(h.Stable)*p.Worse+p.Margin {
		return bad
	}
	return good
}

// RunRollout takes the current rollout to its end. It advances from stage to stage while the canaries are healthy. It aborts the rollout
// if they are not, or if an instance rejects the candidate. It retries while the store does not answer.
//
// RunRollout returns nil when the candidate is in force for all instances, and an error that wraps ErrAborted, with the reason, when the
// rollout was aborted. It returns ErrNotFound if there is no rollout, and ErrInvalid if the plan cannot work. When ctx ends it returns the
// error of ctx: the rollout keeps its stage, and another RunRollout can continue it.
//
// RunRollout advances only while it sees canaries: by their requests if Plan.Health is set, otherwise by their reports, which must all name
// the candidate. It waits while it sees none, and reports that to Plan.OnWait: choose stages that some instance falls into. Without
// Plan.Health it returns errors.ErrUnsupported if the store cannot list the reports.
//
// No decision compares the clocks of two machines. An instance counts as alive while new reports of it arrive. A stage is measured by the
// clock of the process that calls RunRollout.
func (v *Layer) RunRollout(ctx context.Context, plan Plan) error {
	const op = "run rollout"
	r, err := v.newRun(ctx, plan)
	if err != nil {
		return v.wrap(op, err)
	}
	ticker := time.NewTicker(r.plan.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return v.wrap(op, r.interrupted(ctx.Err()))
		case <-ticker.C:
		}
		if done, err := r.tick(ctx); done {
			return v.wrap(op, err)
		}
	}
}

// newRun returns a run of the current rollout.
func (v *Layer) newRun(ctx context.Context, plan Plan) (*run, error) {
	plan, err := plan.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := v.log.store.Require(kv.List); err != nil && plan.Health == nil {
		return nil, fmt.Errorf("%w: the store cannot list the reports of the instances: set Plan.Health", err)
	}
	head, _, err := v.log.head(ctx)
	if err != nil {
		return nil, err
	}
	if head.Rollout == nil {
		return nil, fmt.Errorf("%w: no rollout: start one with Stage", config.ErrNotFound)
	}
	r := &run{layer: v, plan: plan, candidate: head.Rollout.Candidate, sightings: map[string]sighting{}}
	r.enter(head.Rollout.Percent)
	r.earlier = v.log.progress(ctx, r.candidate, r.percent)
	r.saved = r.earlier
	return r, nil
}

// run is a RunRollout in progress.
type run struct {
	layer     *Layer
	plan      Plan
	candidate int
	bad       int    // consecutive bad samples
	waits     string // why the rollout waits, as last reported

	percent float64       // of the stage
	entered time.Time     // when this run first saw the stage, by its monotonic clock
	earlier time.Duration // time that earlier runs spent on the stage
	saved   time.Duration // time spent, as saved in the store

	sightings map[string]sighting // of instances, by name
}

// sighting is when an instance last wrote a report, by the monotonic clock of the run.
type sighting struct {
	at    kv.Version
	since time.Time
	moved bool // another report has arrived since the run started
}

// interrupted adds the reason for waiting to the error of a context.
func (r *run) interrupted(err error) error {
	if r.waits == "" {
		return err
	}
	return fmt.Errorf("%w: the rollout waits: %s", err, r.waits)
}

// enter begins a stage.
func (r *run) enter(percent float64) {
	r.percent, r.entered, r.earlier, r.saved = percent, time.Now(), 0, 0
}

// spent returns the time that this run and earlier ones spent on the stage.
func (r *run) spent() time.Duration { return r.earlier + time.Since(r.entered) }

// tick checks the canaries and advances, holds or aborts the rollout. The next tick retries a step that fails.
func (r *run) tick(ctx context.Context) (done bool, err error) {
	head, _, err := r.layer.log.head(ctx)
	switch {
	case err != nil:
		return false, nil
	case head.Rollout == nil || head.Rollout.Candidate != r.candidate:
		if head.Stable == r.candidate {
			return true, nil
		}
		return true, fmt.Errorf("%w: version %d is not in force", ErrAborted, r.candidate)
	}
	if head.Rollout.Percent != r.percent {
		r.enter(head.Rollout.Percent)
	}
	reports, err := r.layer.log.reports(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) { // without List there are no reports, but there is Health
		return false, nil
	}
	live := r.live(reports)
	if why := rejection(reports, r.candidate); why != "" {
		return r.abort(ctx, why)
	}
	holds, bad := r.judge(ctx, head.Rollout, live)
	if bad != "" {
		return r.abort(ctx, bad)
	}
	return r.advance(ctx, head.Rollout, holds)
}

// live returns the reports of the instances that are alive. Where reports expire, an existing report is recent enough. Elsewhere the run
// must have seen it arrive.
func (r *run) live(reports []report) (all []report) {
	expire, now := r.layer.log.store.Require(kv.Expiry) == nil, time.Now()
	for _, one := range reports {
		s, known := r.sightings[one.Name]
		if !known || s.at != one.at {
			s = sighting{at: one.at, since: now, moved: known}
			r.sightings[one.Name] = s
		}
		if (expire || s.moved) && now.Sub(s.since) < reportTTL {
			all = append(all, one)
		}
	}
	return all
}

// rejection returns the instance that rejects the candidate, and its reason. The age of the report does not matter, since no other rollout
// has this candidate.
func rejection(reports []report, candidate int) string {
	for _, one := range reports {
		if one.Rejected == candidate {
			return fmt.Sprintf("instance %s rejects it: %s", one.Name, one.Reason)
		}
	}
	return ""
}

// judge returns the reason to hold the rollout and the reason to abort it. A reason is empty if there is none.
func (r *run) judge(ctx context.Context, rollout *Rollout, live []report) (holds, abort string) {
	holds = r.unseen(rollout, live)
	if r.plan.Health == nil {
		return holds, ""
	}
	h, err := r.plan.Health(ctx)
	if err != nil {
		return "the health is unknown: " + err.Error(), ""
	}
	switch r.plan.judge(h) {
	case bad:
		if r.bad++; r.bad >= r.plan.BadInARow {
			return "", fmt.Sprintf("%d of %d requests of the canaries failed, and %d of %d of the others", h.Canary.Failed, h.Canary.Total, h.Stable.Failed, h.Stable.Total)
		}
		return "the latest sample of the canaries is bad", ""
	case unknown:
		return fmt.Sprintf("the latest sample has fewer than %d requests of the canaries", max(1, r.plan.MinSample)), ""
	}
	r.bad = 0
	if len(canaries(rollout, live)) == 0 {
		return "", "" // Health has counted their requests
	}
	return holds, ""
}

func canaries(r *Rollout, live []report) []report {
	return slices.DeleteFunc(slices.Clone(live), func(one report) bool { return !r.takes(one.Name) })
}

// unseen returns the reason why the reports do not show that the candidate runs, or nothing.
func (r *run) unseen(rollout *Rollout, live []report) string {
	all := canaries(rollout, live)
	if len(all) == 0 {
		return fmt.Sprintf("no canary reports: %d instances report, and none of them is among the %v %% that take the candidate", len(live), rollout.Percent)
	}
	for _, one := range all {
		if one.Version != r.candidate {
			return fmt.Sprintf("instance %s does not run the candidate yet: it reports version %d", one.Name, one.Version)
		}
	}
	return ""
}

func (r *run) abort(ctx context.Context, why string) (bool, error) {
	err := r.layer.doStep(ctx, Step{Action: "abort", Author: r.plan.Author, Reason: why}, r.candidate)
	if err != nil {
		return false, nil
	}
	return true, fmt.Errorf("%w: %s", ErrAborted, why)
}

// advance takes the next step when the stage is over and nothing holds the rollout.
func (r *run) advance(ctx context.Context, rollout *Rollout, holds string) (bool, error) {
	next, least := r.plan.after(rollout.Percent)
	if r.spent() < least {
		r.save(ctx, least)
		return false, nil
	}
	if holds != "" {
		r.wait(ctx, rollout, holds)
		return false, nil
	}
	s := Step{Action: "advance", Percent: next, Author: r.plan.Author, Reason: "as planned"}
	if next >= 100 {
		s.Action, s.Percent = "promote", 100
	}
	if err := r.layer.doStep(ctx, s, r.candidate); err != nil {
		return false, nil // the next tick sees the outcome
	}
	r.waits = ""
	return s.Action == "promote" && r.finished(ctx), nil
}

// after returns the percentage that follows another, and the minimum duration of the current stage.
func (p Plan) after(percent float64) (next float64, least time.Duration) {
	next = 100
	for _, s := range slices.Backward(p.Stages) {
		if s.Percent > percent {
			next = s.Percent
		}
		if s.Percent == percent {
			least = s.For
		}
	}
	return next, least
}

// wait reports why the rollout waits, once for each reason.
func (r *run) wait(ctx context.Context, rollout *Rollout, why string) {
	if r.waits == why {
		return
	}
	r.waits = why
	r.layer.emit(ctx, "rollout.held", rollout.Candidate, rollout.Percent, r.plan.Author, why)
	if r.plan.OnWait != nil {
		r.plan.OnWait(why)
	}
}

// finished reports whether the candidate is in force for all instances.
func (r *run) finished(ctx context.Context) bool {
	head, _, err := r.layer.log.head(ctx)
	return err == nil && head.Rollout == nil && head.Stable == r.candidate
}

// progress is the time that runs have spent on a stage. It is a duration rather than a point in time, since the clock of the next machine
// may differ.
type progress struct {
	Candidate int           `json:"candidate"`
	Percent   float64       `json:"percent"`
	Spent     time.Duration `json:"spent_ns"`
}

// save writes the time spent on the stage to the store, from time to time. If it fails, the next run spends that time again.
func (r *run) save(ctx context.Context, least time.Duration) {
	const parts = 20 // at most one part of a stage is repeated
	spent := r.spent()
	if spent-r.saved < least/parts {
		return
	}
	value, err := json.Marshal(progress{r.candidate, r.percent, spent})
	if err != nil {
		return
	}
	if _, err := r.layer.log.store.Put(ctx, progressKey, value); err == nil {
		r.saved = spent
	}
}

// progress returns the time that earlier runs spent on a stage.
func (l *versionLog) progress(ctx context.Context, candidate int, percent float64) time.Duration {
	found, err := l.store.Get(ctx, progressKey)
	if err != nil {
		return 0
	}
	var p progress
	if json.Unmarshal(found.Value, &p) != nil || p.Candidate != candidate || p.Percent != percent {
		return 0
	}
	return max(0, p.Spent)
}
