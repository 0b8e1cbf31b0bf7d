package placement

import (
	"fmt"
	"maps"
	"slices"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
)

// Selector chooses instances by their labels. "zone" and "version" are labels too. Values are compared as they are, with their case. The
// zero value chooses all.
type Selector struct {
	// All labels must match. An instance without the label does not match.
	All map[string]string
	// Any: at least one of these labels must match. Empty means no condition.
	Any map[string]string
	// None of these labels may match. An instance without the label is fine.
	None map[string]string
}

// Empty reports whether the selector chooses all instances.
func (s Selector) Empty() bool { return len(s.All) == 0 && len(s.Any) == 0 && len(s.None) == 0 }

// Validate returns fault.Invalid if no instance can match. subject names the selector in the error.
func (s Selector) Validate(subject string) error {
	for _, labels := range []map[string]string{s.All, s.Any, s.None} {
		if _, ok := labels[""]; ok {
			return fmt.Errorf("%w: %s has a label without a name: name it", fault.Invalid, subject)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.All)) {
		if none, ok := s.None[key]; ok && none == s.All[key] {
			return fmt.Errorf("%w: %s requires and excludes %q=%q: remove one of them", fault.Invalid, subject,
				sanitize.Text(key, 64), sanitize.Text(none, 64))
		}
	}
	return nil
}

// Matches reports whether the selector chooses a candidate.
func (s Selector) Matches(c *Candidate) bool {
	for key, value := range s.All {
		if !c.has(key, value) {
			return false
		}
	}
	for key, value := range s.None {
		if c.has(key, value) {
			return false
		}
	}
	return len(s.Any) == 0 || c.hasAny(s.Any)
}

func (c *Candidate) has(key, value string) bool {
	actual, ok := c.label(key)
	return ok && actual == value
}

func (c *Candidate) hasAny(labels map[string]string) bool {
	for key, value := range labels {
		if c.has(key, value) {
			return true
		}
	}
	return false
}

// Match is how the labels of a request choose instances.
type Match string

// The ways to match.
const (
	MatchAll  Match = "all"  // the instance has all labels of the request
	MatchAny  Match = "any"  // the instance has at least one label of the request
	MatchNone Match = "none" // the instance has no label of the request
)

// Validate returns fault.Invalid for an unknown value. Empty means MatchAll.
func (m Match) Validate() error {
	switch m {
	case "", MatchAll, MatchAny, MatchNone:
		return nil
	}
	return fmt.Errorf("%w: match %q: use all, any or none", fault.Invalid, sanitize.Text(string(m), 32))
}

// Selector returns the selector of a request with these labels. It refers to labels.
func (m Match) Selector(labels map[string]string) Selector {
	switch m {
	case MatchAny:
		return Selector{Any: labels}
	case MatchNone:
		return Selector{None: labels}
	default:
		return Selector{All: labels}
	}
}

// Fallback is which instances get a request when none match its selector (Envoy, "Load balancer subsets").
type Fallback string

// The fallbacks.
const (
	FallbackAny     Fallback = "any"     // all instances
	FallbackNone    Fallback = "none"    // none: the request fails
	FallbackDefault Fallback = "default" // those that match the default selector; if there are none, the request fails
)

// Validate returns fault.Invalid for an unknown value. Empty means FallbackAny.
func (f Fallback) Validate() error {
	switch f {
	case "", FallbackAny, FallbackNone, FallbackDefault:
		return nil
	}
	return fmt.Errorf("%w: fallback %q: use any, none or default", fault.Invalid, sanitize.Text(string(f), 32))
}

// Choice says how Choose came to its result.
type Choice string

// The choices.
const (
	ChoseMatching Choice = "matching" // these candidates match the selector
	ChoseAny      Choice = "any"      // none match: all candidates
	ChoseDefault  Choice = "default"  // none match: those of the default selector
	ChoseNone     Choice = "none"     // none match, and the fallback gives none either
)

// Choose returns the indices of the candidates that match s, in ascending order. If there are none, it returns those of the fallback.
// standard is the selector of FallbackDefault; nil means one that chooses all.
func Choose(candidates []Candidate, s Selector, f Fallback, standard *Selector) ([]int, Choice) {
	if chosen := matching(candidates, s); len(chosen) > 0 {
		return chosen, ChoseMatching
	}
	switch f {
	case FallbackNone:
		return nil, ChoseNone
	case FallbackDefault:
		if standard == nil {
			standard = &Selector{}
		}
		if chosen := matching(candidates, *standard); len(chosen) > 0 {
			return chosen, ChoseDefault
		}
		return nil, ChoseNone
	}
	if chosen := matching(candidates, Selector{}); len(chosen) > 0 {
		return chosen, ChoseAny
	}
	return nil, ChoseNone
}

func matching(candidates []Candidate, s Selector) (chosen []int) {
	for i := range candidates {
		if s.Matches(&candidates[i]) {
			chosen = append(chosen, i)
		}
	}
	return chosen
}
