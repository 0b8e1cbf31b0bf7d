package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Advance gives the candidate of the rollout to a larger percentage of the instances. 100 or more promotes it. It returns
// ErrInvalid if the percentage would shrink, ErrNotFound if no rollout is under way, and ErrConflict if somebody else was faster.
func (v *Versions) Advance(ctx context.Context, percent float64, author, reason string) error {
	if percent >= 100 {
		return v.Promote(ctx, author, reason)
	}
	return v.observed(ctx, Step{Action: "advance", Percent: percent, Author: author, Reason: reason}, 0)
}

// Promote puts the candidate of the rollout into force for all instances. Its errors are those of Advance.
func (v *Versions) Promote(ctx context.Context, author, reason string) error {
	return v.observed(ctx, Step{Action: "promote", Percent: 100, Author: author, Reason: reason}, 0)
}

// Abort takes the candidate of the rollout from all instances: what was in force before is again. Its errors are those of
// Advance.
func (v *Versions) Abort(ctx context.Context, author, reason string) error {
	return v.observed(ctx, Step{Action: "abort", Author: author, Reason: reason}, 0)
}

// observed makes a step as the operation that it is, whoever makes it.
func (v *Versions) observed(ctx context.Context, s Step, candidate int) error {
	return v.observe(ctx, s.Action, func(ctx context.Context) error { return v.step(ctx, s, candidate) })
}

// step moves the head by compare-and-set. The rollout must be that of a candidate, unless it is 0.
func (v *Versions) step(ctx context.Context, s Step, candidate int) error {
	if s.Author == "" {
		return fmt.Errorf("%w: the author is missing: say who does it", ErrInvalid)
	}
	head, at, err := v.log.head(ctx)
	if err != nil {
		return err
	}
	r := head.Rollout
	if r == nil || candidate != 0 && r.Candidate != candidate {
		return fmt.Errorf("%w: no rollout is under way", ErrNotFound)
	}
	if s.Action == "advance" && !(s.Percent > r.Percent) { // NaN is no growth either
		return fmt.Errorf("%w: %v %% of the instances have the candidate: a rollout only grows; abort it, or roll back", ErrInvalid, r.Percent)
	}
	s.Time = time.Now().UTC()
	told := &Rollout{Candidate: r.Candidate, Percent: s.Percent, Steps: append(slices.Clone(r.Steps), s)}
	to, event := Head{Stable: head.Stable, Ended: told}, "rollout.aborted"
	switch s.Action {
	case "advance":
		event = "rollout.advanced"
		to = Head{Stable: head.Stable, Rollout: told}
	case "promote":
		event = "rollout.promoted"
		to.Stable = r.Candidate
	}
	if err := v.log.move(ctx, to, at); err != nil {
		return err
	}
	v.emit(ctx, event, r.Candidate, s.Percent, s.Author, s.Reason)
	return nil
}

// keep writes the story of a rollout that has ended to a place of its own, before the head forgets it. The head has decided how
// it ended, so whoever writes it writes the same.
func (v *Versions) keep(ctx context.Context, ended *Rollout) error {
	if ended == nil {
		return nil
	}
	value, err := json.Marshal(ended)
	if err != nil {
		return err
	}
	_, err = v.log.store.Put(ctx, rolloutKeyOf(ended.Candidate), value)
	return storeErrorOrNil(err)
}

func rolloutKeyOf(candidate int) string { return fmt.Sprintf("%s%010d", rolloutPrefix, candidate) }

func storeErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return storeError(err)
}

// Rollout returns the story of the rollout of a version: who started, advanced, promoted or aborted it, when and why. It returns
// ErrNotFound if the version was not staged.
func (v *Versions) Rollout(ctx context.Context, candidate int) (r Rollout, err error) {
	head, _, err := v.log.head(ctx)
	for _, known := range []*Rollout{head.Rollout, head.Ended} {
		if err == nil && known != nil && known.Candidate == candidate {
			return *known, nil
		}
	}
	found, err := v.log.store.Get(ctx, rolloutKeyOf(candidate))
	if err != nil {
		return r, v.wrap("rollout", storeError(err))
	}
	if err := json.Unmarshal(found.Value, &r); err != nil {
		return r, v.wrap("rollout", fmt.Errorf("%w: not what Versions writes", ErrInvalid))
	}
	return r, nil
}

// Instances returns what the instances of the layer report, by their names. One that has not reported for 90 seconds is left out.
func (v *Versions) Instances(ctx context.Context) (all []Instance, err error) {
	for found, err := range v.log.store.List(ctx, instancePrefix) {
		if err != nil {
			return nil, v.wrap("instances", storeError(err))
		}
		var one Instance
		if json.Unmarshal(found.Value, &one) != nil || time.Since(one.Time) > reportTTL {
			continue
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Instance) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Sample counts what happened in the time since the sample before.
type Sample struct {
	// Total is how many requests, or whatever is counted, there were.
	Total uint64
	// Failed is how many of them failed.
	Failed uint64
}

// Health compares the instances that run the candidate with the others. It comes from the user's telemetry, which can tell them
// apart by the attribute goos.config.version.
type Health struct {
	Canary, Stable Sample
}

// Stage is a part of a Plan.
type Stage struct {
	// Percent of the instances that have the candidate during the stage. 100 or more ends the rollout.
	Percent float64
	// For is how long the stage lasts, at least.
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

// DefaultStages are those of a Plan that has none: 5, 25 and 50 percent, ten minutes each.
func DefaultStages() []Stage {
	return []Stage{{5, 10 * time.Minute}, {25, 10 * time.Minute}, {50, 10 * time.Minute}}
}

// Plan says how a rollout goes on by itself.
type Plan struct {
	// Author of the steps, such as the name of the program that guides. Required.
	Author string
	// Stages of the rollout, with growing percentages. Those that the rollout has behind it are skipped. After the last one the
	// candidate is promoted. Default: DefaultStages.
	Stages []Stage
	// Health is asked every Every. An error means that nothing is known: the rollout waits, since a broken monitor is no reason
	// to go on, and none to go back. Default: nil, the schedule alone counts, and what instances refuse.
	Health func(context.Context) (Health, error)
	// Every is how often the instances and Health are looked at. Default: DefaultHealthWindow.
	Every time.Duration
	// MinSample is how many requests of the canaries are needed to judge them. Default: DefaultMinSample.
	MinSample uint64
	// Worse and Margin say when the canaries are bad: when their share of failures is above that of the others times Worse, plus
	// Margin. Defaults: DefaultWorse, DefaultMargin.
	Worse, Margin float64
	// BadInARow is how many samples in a row must be bad for the rollout to be aborted. Default: DefaultBadInARow.
	BadInARow int
}

func (p Plan) orDefault() Plan {
	if p.Stages == nil {
		p.Stages = DefaultStages()
	}
	orDefault(&p.Every, DefaultHealthWindow)
	orDefault(&p.BadInARow, DefaultBadInARow)
	if p.MinSample == 0 {
		p.MinSample = DefaultMinSample
	}
	if p.Worse == 0 {
		p.Worse = DefaultWorse
	}
	if p.Margin == 0 {
		p.Margin = DefaultMargin
	}
	return p
}

func (p Plan) check() error {
	if p.Author == "" {
		return fmt.Errorf("%w: Plan.Author is missing", ErrInvalid)
	}
	if p.Worse < 1 || p.Margin < 0 {
		return fmt.Errorf("%w: Plan.Worse is at least 1 and Plan.Margin at least 0", ErrInvalid)
	}
	last := 0.0
	for i, s := range p.Stages {
		if s.Percent <= last || s.For < 0 {
			return fmt.Errorf("%w: Plan.Stages[%d]: percentages grow from above 0, and no stage lasts less than nothing", ErrInvalid, i)
		}
		last = s.Percent
	}
	return nil
}

// verdict is what a sample says.
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

// ErrAborted says that a rollout was aborted, by Guide or somebody else.
var ErrAborted = errors.New("rollout aborted")

// Guide takes the rollout that is under way to its end: from stage to stage while the canaries are well, and back if they are
// not, or if an instance refuses the candidate. It returns nil when the candidate is in force for all, and an error that wraps
// ErrAborted and says why when it is not. It returns ErrNotFound if no rollout is under way, and the error of ctx when that ends;
// then the rollout stays where it is, and another Guide can go on. The store not answering is waited out.
func (v *Versions) Guide(ctx context.Context, plan Plan) error {
	plan = plan.orDefault()
	if err := plan.check(); err != nil {
		return v.wrap("guide", err)
	}
	head, _, err := v.log.head(ctx)
	if err != nil {
		return v.wrap("guide", err)
	}
	if head.Rollout == nil {
		return v.wrap("guide", fmt.Errorf("%w: no rollout is under way: Stage starts one", ErrNotFound))
	}
	g := &guide{versions: v, plan: plan, candidate: head.Rollout.Candidate}
	ticker := time.NewTicker(plan.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return v.wrap("guide", ctx.Err())
		case <-ticker.C:
		}
		if done, err := g.look(ctx); done {
			return v.wrap("guide", err)
		}
	}
}

// guide is one Guide under way.
type guide struct {
	versions  *Versions
	plan      Plan
	candidate int
	bad       int     // samples in a row
	approved  float64 // the percentage at which the latest sample was good
	held      float64 // the percentage at which it was told that the rollout waits
}

// look asks once how the canaries are, and does what follows from it. What fails is tried again at the next look.
func (g *guide) look(ctx context.Context) (done bool, err error) {
	v := g.versions
	head, _, err := v.log.head(ctx)
	switch {
	case err != nil:
		return false, nil
	case head.Rollout == nil || head.Rollout.Candidate != g.candidate:
		if head.Stable == g.candidate {
			return true, nil
		}
		return true, fmt.Errorf("%w: version %d is not in force", ErrAborted, g.candidate)
	}
	instances, err := v.Instances(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) { // an engine without List knows no instances
		return false, nil
	}
	if why := refusal(instances, g.candidate); why != "" {
		return g.abort(ctx, why)
	}
	if why := g.sample(ctx, head.Rollout, instances); why != "" {
		return g.abort(ctx, why)
	}
	return g.advance(ctx, head.Rollout)
}

func refusal(instances []Instance, candidate int) string {
	for _, one := range instances {
		if one.Rejected == candidate {
			return fmt.Sprintf("instance %s refuses it: %s", one.Name, one.Reason)
		}
	}
	return ""
}

// sample asks for the health, and returns why the rollout must end.
func (g *guide) sample(ctx context.Context, r *Rollout, instances []Instance) (why string) {
	if g.plan.Health == nil || len(instances) > 0 && !slices.ContainsFunc(instances, func(i Instance) bool { return r.takes(i.Name) }) {
		g.approved = r.Percent // nobody to judge
		return ""
	}
	g.approved = 0 // by the latest sample alone: what was well before the monitor broke may not be so any more
	h, err := g.plan.Health(ctx)
	if err != nil {
		return ""
	}
	switch g.plan.judge(h) {
	case good:
		g.bad, g.approved = 0, r.Percent
	case bad:
		g.bad++
		if g.bad >= g.plan.BadInARow {
			return fmt.Sprintf("%d of %d requests of the canaries failed, and %d of %d of the others", h.Canary.Failed, h.Canary.Total, h.Stable.Failed, h.Stable.Total)
		}
	}
	return ""
}

func (g *guide) abort(ctx context.Context, why string) (bool, error) {
	err := g.versions.observed(ctx, Step{Action: "abort", Author: g.plan.Author, Reason: why}, g.candidate)
	if err != nil {
		return false, nil
	}
	return true, fmt.Errorf("%w: %s", ErrAborted, why)
}

// advance makes the next step when the stage is over and the canaries are well.
func (g *guide) advance(ctx context.Context, r *Rollout) (bool, error) {
	next, least := 100.0, time.Duration(0)
	for _, s := range slices.Backward(g.plan.Stages) {
		if s.Percent > r.Percent {
			next = s.Percent
		}
		if s.Percent == r.Percent {
			least = s.For
		}
	}
	begun := r.Steps[len(r.Steps)-1].Time
	if time.Since(begun) < least {
		return false, nil
	}
	if g.approved != r.Percent {
		if g.held != r.Percent {
			g.held = r.Percent
			g.versions.emit(ctx, "rollout.held", r.Candidate, r.Percent, g.plan.Author, "the canaries were not found well yet")
		}
		return false, nil
	}
	s := Step{Action: "advance", Percent: next, Author: g.plan.Author, Reason: "as planned"}
	if next >= 100 {
		s.Action, s.Percent = "promote", 100
	}
	if err := g.versions.observed(ctx, s, g.candidate); err != nil {
		return false, nil // the next look tells
	}
	return s.Action == "promote" && g.over(ctx), nil
}

// over reports whether the head has the candidate.
func (g *guide) over(ctx context.Context) bool {
	head, _, err := g.versions.log.head(ctx)
	return err == nil && head.Rollout == nil && head.Stable == g.candidate
}
