package versions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/state/kv"
)

// Sample counts requests since the previous sample.
type Sample struct {
	// Total is the number of requests, or of whatever is counted.
	Total uint64
	// Failed is the number of those that failed.
	Failed uint64
}

// Health compares the instances that run the candidate with the others. It comes from the user's telemetry, which can tell them
// apart by the attribute goos.config.version.
type Health struct {
	Canary, Stable Sample
}

// Stage is one stage of a Plan.
type Stage struct {
	// Percent of the instances that have the candidate during the stage. 100 or more ends the rollout.
	Percent float64
	// For is how long the stage lasts, at least, by the clock of the guide: the time that guides have spent on it.
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

// Plan describes how RunRollout advances a rollout.
type Plan struct {
	// Author of the steps, such as the name of the program that guides. Required.
	Author string
	// Stages of the rollout, with growing percentages. Those that the rollout has behind it are skipped. After the last one the
	// candidate is promoted. Default: DefaultStages.
	Stages []Stage
	// Health is asked every Every. An error means that nothing is known: the rollout waits, since a broken monitor is a reason
	// neither to advance nor to abort. Default: nil; then what the instances report counts.
	Health func(context.Context) (Health, error)
	// OnWait is called when a stage is over and the rollout must not go on yet, with the reason, and again when the reason is another
	// one. The event goos.config.rollout.held has it too. Default: none.
	OnWait func(why string)
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
	if p.Every <= 0 {
		p.Every = DefaultHealthWindow
	}
	if p.BadInARow <= 0 {
		p.BadInARow = DefaultBadInARow
	}
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
		return fmt.Errorf("%w: Plan.Author is missing", config.ErrInvalid)
	}
	if p.Worse < 1 || p.Margin < 0 {
		return fmt.Errorf("%w: Plan.Worse is at least 1 and Plan.Margin at least 0", config.ErrInvalid)
	}
	last := 0.0
	for i, s := range p.Stages {
		if s.Percent <= last || s.For < 0 {
			return fmt.Errorf("%w: Plan.Stages[%d]: percentages grow from above 0, and no stage lasts less than nothing", config.ErrInvalid, i)
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

// ErrAborted says that a rollout was aborted, by RunRollout or somebody else.
var ErrAborted = errors.New("rollout aborted")

// RunRollout takes the rollout that is under way to its end: from stage to stage while the canaries are well, and back if they are
// not, or if an instance refuses the candidate. It returns nil when the candidate is in force for all, and an error that wraps
// ErrAborted and says why when it is not. It returns ErrNotFound if no rollout is under way, and the error of ctx when that ends;
// then the rollout stays where it is, and another RunRollout can continue it. It retries while the store does not answer.
//
// RunRollout advances only while it sees canaries: by their requests if Plan.Health is set, otherwise by their reports, which must all name
// the candidate. As long as it sees none it waits, and Plan.OnWait says so: choose stages that some instance falls into. Without
// Plan.Health it returns errors.ErrUnsupported if the store cannot list the reports.
//
// No decision compares the clocks of two machines. An instance counts as long as new reports of it arrive, and a stage lasts by the
// clock of the guide.
func (v *Layer) RunRollout(ctx context.Context, plan Plan) error {
	plan = plan.orDefault()
	g, err := v.guide(ctx, plan)
	if err != nil {
		return v.wrap("guide", err)
	}
	ticker := time.NewTicker(plan.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return v.wrap("guide", g.interrupted(ctx.Err()))
		case <-ticker.C:
		}
		if done, err := g.look(ctx); done {
			return v.wrap("guide", err)
		}
	}
}

// guide begins to guide the rollout that is under way.
func (v *Layer) guide(ctx context.Context, plan Plan) (*guide, error) {
	if err := plan.check(); err != nil {
		return nil, err
	}
	if err := v.log.store.Require(kv.List); err != nil && plan.Health == nil {
		return nil, fmt.Errorf("%w: the store cannot list what instances report: give Plan.Health", err)
	}
	head, _, err := v.log.head(ctx)
	if err != nil {
		return nil, err
	}
	if head.Rollout == nil {
		return nil, fmt.Errorf("%w: no rollout is under way: Stage starts one", config.ErrNotFound)
	}
	g := &guide{versions: v, plan: plan, candidate: head.Rollout.Candidate, sightings: map[string]sighting{}}
	g.enter(head.Rollout.Percent)
	g.earlier = v.log.progress(ctx, g.candidate, g.percent)
	g.kept = g.earlier
	return g, nil
}

// guide is a RunRollout in progress.
type guide struct {
	versions  *Layer
	plan      Plan
	candidate int
	bad       int    // samples in a row
	waits     string // why the rollout waits, as last reported

	percent float64       // of the stage
	entered time.Time     // when this guide first saw the stage, by its monotonic clock
	earlier time.Duration // what other guides have spent on the stage before
	kept    time.Duration // of the time spent, what the store knows

	sightings map[string]sighting // of instances, by their names
}

// sighting is when an instance last wrote a report, by the monotonic clock of the guide.
type sighting struct {
	at    kv.Version
	since time.Time
	moved bool // another report has arrived since the guide began
}

// interrupted adds to the error of a context what the rollout was waiting for.
func (g *guide) interrupted(err error) error {
	if g.waits == "" {
		return err
	}
	return fmt.Errorf("%w: the rollout waits: %s", err, g.waits)
}

// enter begins a stage.
func (g *guide) enter(percent float64) {
	g.percent, g.entered, g.earlier, g.kept = percent, time.Now(), 0, 0
}

// spent returns how long guides have spent on the stage.
func (g *guide) spent() time.Duration { return g.earlier + time.Since(g.entered) }

// look checks the canaries and advances, holds or aborts the rollout. A step that fails is retried at the next look.
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
	if head.Rollout.Percent != g.percent {
		g.enter(head.Rollout.Percent)
	}
	reports, err := v.log.reports(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) { // an engine without List has no reports; there is Health
		return false, nil
	}
	live := g.live(reports)
	if why := refusal(reports, g.candidate); why != "" {
		return g.abort(ctx, why)
	}
	holds, ill := g.judge(ctx, head.Rollout, live)
	if ill != "" {
		return g.abort(ctx, ill)
	}
	return g.advance(ctx, head.Rollout, holds)
}

// live returns the reports of the instances that are alive. Where reports expire, one that is there is new enough; elsewhere the
// guide must have seen it arrive.
func (g *guide) live(reports []report) (all []report) {
	expire, now := g.versions.log.store.Require(kv.Expiry) == nil, time.Now()
	for _, r := range reports {
		s, known := g.sightings[r.Name]
		if !known || s.at != r.at {
			s = sighting{at: r.at, since: now, moved: known}
			g.sightings[r.Name] = s
		}
		if (expire || s.moved) && now.Sub(s.since) < reportTTL {
			all = append(all, r)
		}
	}
	return all
}

// refusal returns the instance that refuses the candidate, and its reason. A refusal counts however old it is, since no other rollout has this candidate.
func refusal(reports []report, candidate int) string {
	for _, one := range reports {
		if one.Rejected == candidate {
			return fmt.Sprintf("instance %s refuses it: %s", one.Name, one.Reason)
		}
	}
	return ""
}

// judge returns why the rollout must not go on yet, if it must not, and why it must end, if it must.
func (g *guide) judge(ctx context.Context, r *Rollout, live []report) (holds, ill string) {
	holds = g.unseen(r, live)
	if g.plan.Health == nil {
		return holds, ""
	}
	h, err := g.plan.Health(ctx)
	if err != nil {
		return "the health is not known: " + err.Error(), ""
	}
	switch verdict := g.plan.judge(h); {
	case verdict == bad:
		if g.bad++; g.bad >= g.plan.BadInARow {
			return "", fmt.Sprintf("%d of %d requests of the canaries failed, and %d of %d of the others", h.Canary.Failed, h.Canary.Total, h.Stable.Failed, h.Stable.Total)
		}
		return "the latest sample of the canaries is bad", ""
	case verdict == unknown:
		return fmt.Sprintf("the latest sample has fewer than %d requests of the canaries", max(1, g.plan.MinSample)), ""
	}
	g.bad = 0
	if len(canaries(r, live)) == 0 {
		return "", "" // their requests were seen
	}
	return holds, ""
}

func canaries(r *Rollout, live []report) []report {
	return slices.DeleteFunc(slices.Clone(live), func(one report) bool { return !r.takes(one.Name) })
}

// unseen returns why the reports do not show that the candidate runs.
func (g *guide) unseen(r *Rollout, live []report) string {
	all := canaries(r, live)
	if len(all) == 0 {
		return fmt.Sprintf("no canary reports: %d instances report, and none of them is among the %v %% that take the candidate", len(live), r.Percent)
	}
	for _, one := range all {
		if one.Version != g.candidate {
			return fmt.Sprintf("instance %s does not run the candidate yet: it reports version %d", one.Name, one.Version)
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

// advance makes the next step when the stage is over and nothing holds the rollout.
func (g *guide) advance(ctx context.Context, r *Rollout, holds string) (bool, error) {
	next, least := g.plan.after(r.Percent)
	if g.spent() < least {
		g.keep(ctx, least)
		return false, nil
	}
	if holds != "" {
		g.wait(ctx, r, holds)
		return false, nil
	}
	s := Step{Action: "advance", Percent: next, Author: g.plan.Author, Reason: "as planned"}
	if next >= 100 {
		s.Action, s.Percent = "promote", 100
	}
	if err := g.versions.observed(ctx, s, g.candidate); err != nil {
		return false, nil // the next look shows what happened
	}
	g.waits = ""
	return s.Action == "promote" && g.over(ctx), nil
}

// after returns the percentage that follows another, and how long the stage of that one lasts at least.
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
func (g *guide) wait(ctx context.Context, r *Rollout, why string) {
	if g.waits == why {
		return
	}
	g.waits = why
	g.versions.emit(ctx, "rollout.held", r.Candidate, r.Percent, g.plan.Author, why)
	if g.plan.OnWait != nil {
		g.plan.OnWait(why)
	}
}

// over reports whether the head has the candidate.
func (g *guide) over(ctx context.Context) bool {
	head, _, err := g.versions.log.head(ctx)
	return err == nil && head.Rollout == nil && head.Stable == g.candidate
}

// progress is how far guides have come with a stage. It is a duration, and no time: the next guide may run where the clock differs.
type progress struct {
	Candidate int           `json:"candidate"`
	Percent   float64       `json:"percent"`
	Spent     time.Duration `json:"spent_ns"`
}

// keep writes down how long guides have spent on the stage, every now and then. If it fails, the next guide spends longer on it.
func (g *guide) keep(ctx context.Context, least time.Duration) {
	const parts = 20 // of a stage: so much of it is spent again at most
	spent := g.spent()
	if spent-g.kept < least/parts {
		return
	}
	value, err := json.Marshal(progress{g.candidate, g.percent, spent})
	if err != nil {
		return
	}
	if _, err := g.versions.log.store.Put(ctx, progressKey, value); err == nil {
		g.kept = spent
	}
}

// progress returns how long earlier guides have spent on a stage.
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
