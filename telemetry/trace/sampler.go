package trace

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// scopeName is the instrumentation scope of this package's own telemetry.
const scopeName = "github.com/go-os/go-os/telemetry/trace"

// Sampler is a sampler that can be replaced while the program runs. A decision costs one atomic load on top of the
// current sampler.
//
// A change applies to the traces that begin after it. The new sampler decides about running traces: a ParentBased one
// (which SetRatio sets) keeps every trace whole, a bare one may sample the rest of a trace that was dropped.
type Sampler struct {
	current atomic.Pointer[sdktrace.Sampler]
	changed atomic.Pointer[instrument.Event]

	mu       sync.Mutex
	base     sdktrace.Sampler // what a temporary change reverts to
	revertAt time.Time        // zero when base is current
	revert   *time.Timer      // set when revertAt is
	changes  uint64           // identifies a change, so that a late timer can detect that it is stale
}

// NewSampler returns a Sampler that begins with initial. Nil means the default of the OpenTelemetry specification:
// every trace that begins here, and of the others those that the caller sampled.
func NewSampler(initial sdktrace.Sampler) *Sampler {
	if initial == nil {
		initial = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	s := &Sampler{base: initial}
	s.current.Store(&initial)
	return s
}

// ShouldSample implements sdktrace.Sampler.
func (s *Sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.current.Load()).ShouldSample(p)
}

// Description implements sdktrace.Sampler. It names the current sampler.
func (s *Sampler) Description() string {
	return "Sampler{" + (*s.current.Load()).Description() + "}"
}

// Set replaces the sampler. A positive revert makes the change temporary: then the last permanent sampler returns,
// however many temporary changes came between. Zero makes the change permanent, and cancels a pending revert. A nil
// sampler and a negative revert are ErrInvalid, and change nothing.
func (s *Sampler) Set(sampler sdktrace.Sampler, revert time.Duration) error {
	if sampler == nil {
		return fmt.Errorf("telemetry/trace: %w: the sampler to set is nil; set ParentBased(AlwaysSample()) for the default", ErrInvalid)
	}
	if revert < 0 {
		return fmt.Errorf("telemetry/trace: %w: revert of the sampler after %v: the time must not be negative; "+
			"zero means that the change is for good", ErrInvalid, revert)
	}
	s.mu.Lock()
	s.put(sampler)
	reason := "set"
	if revert > 0 {
		reason = "temporary"
		s.revertAt = time.Now().Add(revert)
		change := s.changes
		s.revert = time.AfterFunc(revert, func() { s.timeout(change) })
	} else {
		s.base = sampler
	}
	s.mu.Unlock()
	s.announce(sampler, reason)
	return nil
}

// SetRatio samples this share of the traces that begin here, between 0 and 1. It follows the caller's decision for all
// others, so that a trace across services stays whole. For revert see Set. A ratio outside of 0 to 1 and a negative
// revert are ErrInvalid, and change nothing.
func (s *Sampler) SetRatio(ratio float64, revert time.Duration) error {
	if math.IsNaN(ratio) || ratio < 0 || ratio > 1 {
		return fmt.Errorf("telemetry/trace: %w: sampling ratio %v is not between 0 (no trace) and 1 (every trace)", ErrInvalid, ratio)
	}
	return s.Set(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), revert)
}

// Revert ends a temporary change now. Without one it does nothing.
func (s *Sampler) Revert() {
	s.mu.Lock()
	temporary := !s.revertAt.IsZero()
	base := s.base
	if temporary {
		s.put(base)
	}
	s.mu.Unlock()
	if temporary {
		s.announce(base, "reverted")
	}
}

// RevertsAt returns when the temporary sampler reverts, or the zero time if the current sampler is permanent.
func (s *Sampler) RevertsAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revertAt
}

// Observe emits an event at each later change. It is a separate step, because the sampler is created before the
// providers are.
func (s *Sampler) Observe(p telemetry.Providers) {
	s.changed.Store(instrument.NewEvent(p.EventLogger(scopeName), "goos.trace.sampler.changed", log.SeverityInfo))
}

// timeout reverts the change with this number, unless another change came between.
func (s *Sampler) timeout(change uint64) {
	s.mu.Lock()
	due := s.changes == change
	base := s.base
	if due {
		s.put(base)
	}
	s.mu.Unlock()
	if due {
		s.announce(base, "reverted")
	}
}

// put replaces the current sampler and cancels a pending revert. The caller holds mu.
func (s *Sampler) put(sampler sdktrace.Sampler) {
	s.changes++
	if s.revert != nil {
		s.revert.Stop()
	}
	s.revert, s.revertAt = nil, time.Time{}
	s.current.Store(&sampler)
}

func (s *Sampler) announce(sampler sdktrace.Sampler, reason string) {
	if event := s.changed.Load(); event != nil {
		event.Emit(context.Background(),
			attribute.String("goos.trace.sampler.description", sampler.Description()),
			attribute.String("goos.trace.sampler.reason", reason))
	}
}
