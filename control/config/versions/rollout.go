package versions

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config"
)

// Advance gives the candidate of the rollout to a larger percentage of the instances. 100 or more promotes it. It returns
// ErrInvalid if the percentage would shrink, ErrNotFound if no rollout is under way, and ErrConflict if somebody else was faster.
func (v *Layer) Advance(ctx context.Context, percent float64, author, reason string) error {
	if percent >= 100 {
		return v.Promote(ctx, author, reason)
	}
	return v.take(ctx, Step{Action: "advance", Percent: percent, Author: author, Reason: reason}, 0)
}

// Promote puts the candidate of the rollout into force for all instances. Its errors are those of Advance.
func (v *Layer) Promote(ctx context.Context, author, reason string) error {
	return v.take(ctx, Step{Action: "promote", Percent: 100, Author: author, Reason: reason}, 0)
}

// Abort takes the candidate of the rollout from all instances: what was in force before is again. Its errors are those of
// Advance.
func (v *Layer) Abort(ctx context.Context, author, reason string) error {
	return v.take(ctx, Step{Action: "abort", Author: author, Reason: reason}, 0)
}

// take takes a step with its telemetry.
func (v *Layer) take(ctx context.Context, s Step, candidate int) error {
	return v.do(ctx, s.Action, candidate, func(ctx context.Context) error { return v.step(ctx, s, candidate) })
}

// step moves the head by compare-and-set. The rollout must be that of a candidate, unless it is 0.
func (v *Layer) step(ctx context.Context, s Step, candidate int) error {
	if s.Author == "" {
		return fmt.Errorf("%w: the author is missing: say who does it", config.ErrInvalid)
	}
	head, at, err := v.log.head(ctx)
	if err != nil {
		return err
	}
	r := head.Rollout
	if r == nil || candidate != 0 && r.Candidate != candidate {
		return fmt.Errorf("%w: no rollout is under way", config.ErrNotFound)
	}
	if s.Action == "advance" && !(s.Percent > r.Percent) { // NaN is no growth either
		return fmt.Errorf("%w: %v %% of the instances have the candidate: a rollout only grows; abort it, or roll back", config.ErrInvalid, r.Percent)
	}
	s.Time = time.Now().UTC()
	now := &Rollout{Candidate: r.Candidate, Percent: s.Percent, Steps: append(slices.Clone(r.Steps), s)}
	to, event := Head{Stable: head.Stable, Ended: now}, "rollout.aborted"
	switch s.Action {
	case "advance":
		event = "rollout.advanced"
		to = Head{Stable: head.Stable, Rollout: now}
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

// keep writes the record of an ended rollout to a key of its own, before the head drops it. The head has decided how the rollout
// ended, so all writers write the same.
func (v *Layer) keep(ctx context.Context, ended *Rollout) error {
	if ended == nil {
		return nil
	}
	value, err := json.Marshal(ended)
	if err != nil {
		return err
	}
	_, err = v.log.store.Put(ctx, rolloutKeyOf(ended.Candidate), value)
	return storeError(err)
}

func rolloutKeyOf(candidate int) string { return fmt.Sprintf("%s%010d", rolloutPrefix, candidate) }

// Rollout returns the record of a version's rollout: who took each step, when and why. It returns ErrNotFound if the version was not
// staged.
func (v *Layer) Rollout(ctx context.Context, candidate int) (r Rollout, err error) {
	err = v.do(ctx, "rollout", candidate, func(ctx context.Context) (err error) {
		r, err = v.log.rollout(ctx, candidate)
		return err
	})
	return r, err
}

// rollout returns the record of a rollout: that of the head, or the one that was kept.
func (l *versionLog) rollout(ctx context.Context, candidate int) (r Rollout, err error) {
	head, _, err := l.head(ctx)
	for _, known := range []*Rollout{head.Rollout, head.Ended} {
		if err == nil && known != nil && known.Candidate == candidate {
			return *known, nil
		}
	}
	found, err := l.store.Get(ctx, rolloutKeyOf(candidate))
	if err != nil {
		return r, storeError(err)
	}
	if err := json.Unmarshal(found.Value, &r); err != nil {
		return r, fmt.Errorf("%w: the record of the rollout is not what package versions writes", config.ErrInvalid)
	}
	return r, nil
}
