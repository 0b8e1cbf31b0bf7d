package shed

import "time"

// Outcome is how an admitted request ended.
type Outcome uint8

// The outcomes.
const (
	// Ignored gives the place back, and nothing is learnt: the caller gave up, the request failed at once, the handler panicked, or the
	// exchange goes on as a stream or an upgrade, whose duration is no work.
	Ignored Outcome = iota
	// Success makes the duration a sample of the latency.
	Success
	// Dropped is for a request that missed its deadline. Its duration is a sample, too. If many requests at the limit are dropped, the
	// limit comes down, so that the others are answered in time. A request that a dependency refused at once is Ignored.
	Dropped
)

// Admission is one admitted request. Done must follow. Do not copy it. The zero Admission is that of an exempt or refused request.
type Admission struct {
	shedder  *Shedder
	start    time.Duration
	inFlight int64 // with this one
}

// Done gives the place back and records how the request ended. Later calls do nothing.
func (a *Admission) Done(o Outcome) {
	if s := a.shedder; s != nil {
		a.shedder = nil
		s.done(a, o)
	}
}
