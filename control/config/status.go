package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Problem describes a source that is invalid or out of reach. Its last good documents stay in force.
type Problem struct {
	// Source is the name of the source.
	Source string
	// Err is the cause: one or more *Error.
	Err error
	// Since is when the problem was first noticed. Its cause may have changed since then.
	Since time.Time
	// Rejected reports that the source was read and its documents were rejected. Otherwise it could not be read, or is out of reach.
	Rejected bool
	// LastGood is when the documents in force were saved, if they come from the file Options.LastGood. Otherwise it is zero.
	LastGood time.Time

	text     string // of Err
	reported bool   // by an event
	absent   bool   // nothing of the source is in force
}

// newProblem returns a problem that begins now. It calls err.Error, so the caller must not hold core.mu.
func newProblem(source string, err error, rejected bool) *Problem {
	return &Problem{Source: source, Err: err, Since: time.Now(), Rejected: rejected, text: err.Error()}
}

// Age returns how long the problem has lasted.
func (p Problem) Age() time.Duration { return time.Since(p.Since) }

// Status is the state of a configuration and its sources.
type Status struct {
	// Version, Fingerprint and Applied describe the configuration in force, as in Snapshot.
	Version, Fingerprint string
	Applied              time.Time
	// Problems are the current problems, in the order of the names of their sources.
	Problems []Problem
	// Warnings are keys that were ignored.
	Warnings []error
}

func (c *core) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.current.Load()
	out := Status{Version: s.version, Fingerprint: s.fingerprint, Applied: s.applied, Warnings: slices.Clone(c.warnings)}
	for _, name := range slices.Sorted(maps.Keys(c.problems)) {
		out.Problems = append(out.Problems, *c.problems[name])
	}
	return out
}

func (c *core) err() error {
	var errs []error
	for _, p := range c.status().Problems {
		errs = append(errs, fmt.Errorf("%w (source %s, for %s)", p.Err, p.Source, p.Age().Round(time.Second)))
	}
	return errors.Join(errs...)
}

// addProblem records a problem. A known problem keeps its age, and is reported again only if it has changed. The caller holds c.mu.
func (c *core) addProblem(ctx context.Context, p *Problem) {
	known := c.problems[p.Source]
	if known != nil {
		p.Since, p.reported = known.Since, known.reported
		if known.text == p.text && known.Rejected == p.Rejected {
			return
		}
	}
	c.problems[p.Source] = p
	if c.current.Load() != nil { // otherwise Load returns or reports it
		c.reportProblem(ctx, p)
	}
}

// reportProblem makes the next deliver report a problem. The caller holds c.mu.
func (c *core) reportProblem(ctx context.Context, p *Problem) {
	p.reported = true
	ctx = context.WithoutCancel(ctx)
	c.events.add(func() { c.watch.recordProblem(ctx, p) })
}

// removeProblem records that a source is good. The caller holds c.mu.
func (c *core) removeProblem(ctx context.Context, source string) {
	p := c.problems[source]
	delete(c.problems, source)
	if p != nil && p.reported {
		ctx = context.WithoutCancel(ctx)
		c.events.add(func() { c.watch.recordRecovery(ctx, source) })
	}
}
