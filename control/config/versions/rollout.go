package versions

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config"
)

// Advance raises the percentage of the instances that take the candidate. 100 or more promotes it. It returns ErrInvalid if the percentage
// would not grow or the author is missing, ErrNotFound if there is no rollout, and ErrConflict if another step came first.
func (v *Layer) Advance(ctx context.Context, percent float64, author, reason string) error {
	if percent >= 100 {
		return v.Promote(ctx, author, reason)
	}
	return v.doStep(ctx, Step{Action: "advance", Percent: percent, Author: author, Reason: reason}, 0)
}

// Promote puts the candidate of the rollout into force for all instances. It returns the errors of Advance.
func (v *Layer) Promote(ctx context.Context, author, reason string) error {
	return v.doStep(ctx, Step{Action: "promote", Percent: 100, Author: author, Reason: reason}, 0)
}

// Abort ends the rollout: all instances return to the stable version. It returns the errors of Advance.
func (v *Layer) Abort(ctx context.Context, author, reason string) error {
	return v.doStep(ctx, Step{Action: "abort", Author: author, Reason: reason}, 0)
}

// doStep runs step with its telemetry.
func (v *Layer) doStep(ctx context.Context, s Step, candidate int) error {
	return v.do(ctx, s.Action, candidate, func(ctx context.Context) error { return v.step(ctx, s, candidate) })
}

// step moves the head by compare-and-set. The rollout must be that of the candidate, unless candidate is 0.
func (v *Layer) step(ctx context.Context, s Step, candidate int) error {
	if s.Author == "" {
		return fmt.Errorf("%w: the author is missing: name the caller", config.ErrInvalid)
	}
	head, at, err := v.log.head(ctx)
	if err != nil {
		return err
	}
	r := head.Rollout
	if r == nil || candidate != 0 && r.Candidate != candidate {
		return fmt.Errorf("%w: no rollout: start one with Stage", config.ErrNotFound)
	}
	if s.Action == "advance" && !(s.Percent > r.Percent) { // also false for NaN
		return fmt.Errorf("%w: %v %% of the instances already take the candidate: give more, or abort the rollout", config.ErrInvalid, r.Percent)
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

// saveRollout writes the record of an ended rollout to its own key, before the head drops it. The head determines how the rollout ended, so
// concurrent writers write the same.
func (v *Layer) saveRollout(ctx context.Context, ended *Rollout) error {
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

// Rollout returns the record of the rollout of a version: each step with its author, its time and its reason. It returns ErrNotFound if the
// version was never staged.
func (v *Layer) Rollout(ctx context.Context, candidate int) (r Rollout, err error) {
	err = v.do(ctx, "rollout", candidate, func(ctx context.Context) (err error) {
		r, err = v.log.rollout(ctx, candidate)
		return err
	})
	return r, err
}

// rollout returns the record of a rollout, from the head or from its own key.
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
		return r, fmt.Errorf("%w: the record of the rollout is damaged: it was not written by package versions", config.ErrInvalid)
	}
	return r, nil
}
