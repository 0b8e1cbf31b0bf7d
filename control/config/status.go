package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Problem describes a source that is bad now. Its last good state stays in force.
type Problem struct {
	// Source is the name of the source.
	Source string
	// Err says what is wrong: one or more *Error.
	Err error
	// Since is when the problem was first seen; it may have changed since.
	Since time.Time
	// Rejected says that the source was read, and what it says was refused. Otherwise it could not be read, or is out of reach.
	Rejected bool
	// LastGood is when what stands in for the source was saved, if it comes from the file Options.LastGood.
	LastGood time.Time

	text   string // of Err
	told   bool   // by an event
	absent bool   // nothing of the source is in force
}

// newProblem returns a problem that begins now. It calls Err.Error, so the caller must not hold Config.mu.
func newProblem(source string, err error, rejected bool) *Problem {
	return &Problem{Source: source, Err: err, Since: time.Now(), Rejected: rejected, text: err.Error()}
}

// Age returns how long the problem has lasted.
func (p Problem) Age() time.Duration { return time.Since(p.Since) }

// Status is the state of a configuration and its sources.
type Status struct {
	// Version, Fingerprint and Applied are those of the configuration in force.
	Version, Fingerprint string
	Applied              time.Time
	// Problems are the sources that are bad now, in the order of their names.
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

// trouble records a problem. A known problem keeps its age, and is reported again only if it has changed. c.mu is held.
func (c *core) trouble(ctx context.Context, p *Problem) {
	known := c.problems[p.Source]
	if known != nil {
		p.Since, p.told = known.Since, known.told
		if known.text == p.text && known.Rejected == p.Rejected {
			return
		}
	}
	c.problems[p.Source] = p
	if c.current.Load() != nil { // else Load returns it, or reports it at its end
		c.reportProblem(ctx, p)
	}
}

// reportProblem has a problem reported by the next deliver. c.mu is held.
func (c *core) reportProblem(ctx context.Context, p *Problem) {
	p.told = true
	ctx = context.WithoutCancel(ctx)
	c.events.add(func() { c.watch.broke(ctx, p) })
}

// relief records that a source is good. c.mu is held.
func (c *core) relief(ctx context.Context, source string) {
	p := c.problems[source]
	delete(c.problems, source)
	if p != nil && p.told {
		ctx = context.WithoutCancel(ctx)
		c.events.add(func() { c.watch.healed(ctx, source) })
	}
}
