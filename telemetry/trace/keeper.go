package trace

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// Keeper keeps traces that the sampler dropped when they began and that prove important: a span in them failed, or took too long. It is
// a span processor in front of another one, and a sampler around another one. A TracerProvider needs both:
//
//	keeper := trace.NewKeeper(sdktrace.NewBatchSpanProcessor(exporter), nil)
//	tp := sdktrace.NewTracerProvider(
//		sdktrace.WithSampler(keeper.Sampler(sampler)),
//		sdktrace.WithSpanProcessor(keeper),
//	)
//
// # Which traces
//
// The Keeper watches traces that begin in this process. A trace whose caller decided against it stays dropped and costs nothing;
// keeping it here would export a fragment. Sampled spans pass straight through, without a lock. Spans of a watched trace are recorded,
// and held until one of them fails or exceeds Slow. Then the held spans go to the next processor, and the remaining ones follow as they
// end. A trace whose root and whose children all ended well is discarded; the next processor gets no OnEnd for its spans. It does get
// OnStart for every span, so that it can add attributes. A processor that counts running spans therefore belongs beside the Keeper, not
// behind it.
//
// Deadlines are checked when a span starts or ends, and by ForceFlush. An idle process decides nothing.
//
// # What others see of a kept trace
//
// The next processor sees spans with the sampled flag set, on themselves and on their parents, and with the attribute goos.trace.kept,
// whose value is the reason (error, slow). For everything else the trace was unsampled while it ran. Calls to other services carried
// the flags 00, so their part is missing. Its log records have the flags 00, and no exemplar in metrics points to it.
//
// Kept traces are not a random sample. To extrapolate from spans to traffic, leave out those with goos.trace.kept. The Keeper removes
// the sampling threshold (ot=th) from their tracestate, which marks their adjusted count as unknown.
type Keeper struct {
	next sdktrace.SpanProcessor
	opts KeepOptions
	reg  metric.Registration // nil when the meter refused

	mu    sync.Mutex // guards table
	table keepTable
}

// KeepOptions configure which traces a Keeper keeps, and bound its buffer. The zero value keeps traces with errors.
type KeepOptions struct {
	// Slow is the duration of a span from which its trace is kept. Default: 0, which keeps no trace for being slow.
	Slow time.Duration
	// IgnoreErrors does not keep traces for a span with the status Error. Default: false.
	IgnoreErrors bool
	// MaxTraces is the number of traces that are watched at a time. A trace that begins beyond it is not watched, and counted as
	// overflowed. A kept trace makes room when needed, finished ones first. Later spans of one that still runs are then lost, and
	// counted as unwatched. Default: 2048.
	MaxTraces int
	// MaxSpans is the number of ended spans held for one trace. Further ones are lost and counted as overflowed, even if the trace is
	// kept later. Default: 256.
	MaxSpans int
	// MaxBuffered is the number of ended spans held for all traces together; further ones are treated as those beyond MaxSpans. It
	// bounds the memory: expect 1 to 2 kB a span. Default: 16384.
	MaxBuffered int
	// MaxAge is the time after its start at which a trace is given up if its root has not ended. If Slow is set, the trace is kept, as
	// it is certainly slow. Otherwise it is counted as overflowed, and its later spans as unwatched. At least Slow. Default: 1 minute.
	MaxAge time.Duration
	// Linger is the time after the end of the root for which the decision waits for running children. Children that end later are
	// counted as unwatched. Default: 5 seconds.
	Linger time.Duration
	// Telemetry receives the Keeper's own metrics.
	Telemetry telemetry.Providers
}

// NewKeeper returns a Keeper in front of next, and owns next: it passes Shutdown and ForceFlush on. A negative option is reported to
// the error handler of OpenTelemetry, and the default is used.
func NewKeeper(next sdktrace.SpanProcessor, opts *KeepOptions) *Keeper {
	k := &Keeper{next: next, opts: opts.withDefaults()}
	k.table = newKeepTable(&k.opts)
	k.reg = k.observe(k.opts.Telemetry)
	return k
}

// withDefaults returns a copy of the options with their defaults. It reports negative ones.
func (o *KeepOptions) withDefaults() KeepOptions {
	opts := defaults.Copy(o)
	const owner = "trace.KeepOptions"
	option.Default(owner, "Slow", &opts.Slow)
	option.Default(owner, "MaxTraces", &opts.MaxTraces)
	option.Default(owner, "MaxSpans", &opts.MaxSpans)
	option.Default(owner, "MaxBuffered", &opts.MaxBuffered)
	option.Default(owner, "MaxAge", &opts.MaxAge)
	option.Default(owner, "Linger", &opts.Linger)
	opts.MaxTraces = cmp.Or(opts.MaxTraces, 2048)
	opts.MaxSpans = cmp.Or(opts.MaxSpans, 256)
	opts.MaxBuffered = cmp.Or(opts.MaxBuffered, 16384)
	opts.MaxAge = max(cmp.Or(opts.MaxAge, time.Minute), opts.Slow)
	opts.Linger = cmp.Or(opts.Linger, 5*time.Second)
	return opts
}

// OnStart implements sdktrace.SpanProcessor. The next processor sees every span that starts.
func (k *Keeper) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	k.next.OnStart(ctx, s)
	if s.SpanContext().IsSampled() || s.Parent().IsRemote() {
		return
	}
	now := time.Now()
	k.mu.Lock()
	release := k.table.expire(now)
	k.table.start(s, now)
	k.mu.Unlock()
	k.forward(release)
}

// OnEnd implements sdktrace.SpanProcessor.
func (k *Keeper) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() || s.Parent().IsRemote() {
		k.next.OnEnd(s)
		return
	}
	now := time.Now()
	k.mu.Lock()
	release := k.table.expire(now)
	ended, watched := k.table.end(s, k.reason(s), now)
	k.mu.Unlock()
	k.forward(release)
	k.forward(ended)
	if !watched {
		k.next.OnEnd(s) // not sampled and not watched; next may still want it
	}
}

// The values of goos.trace.kept.
const (
	keptError = "error"
	keptSlow  = "slow"
)

// reason returns why the trace of an ended span should be kept, or "" if this span is no reason.
func (k *Keeper) reason(s sdktrace.ReadOnlySpan) string {
	if !k.opts.IgnoreErrors && s.Status().Code == codes.Error {
		return keptError
	}
	if k.opts.Slow > 0 && s.EndTime().Sub(s.StartTime()) >= k.opts.Slow {
		return keptSlow
	}
	return ""
}

// forward must be called without the lock, because the next processor may block.
func (k *Keeper) forward(spans []keptSpan) {
	for _, s := range spans {
		k.next.OnEnd(s)
	}
}

// ForceFlush flushes the next processor. Running traces stay undecided, except those that are past MaxAge or Linger.
func (k *Keeper) ForceFlush(ctx context.Context) error {
	k.mu.Lock()
	release := k.table.expire(time.Now())
	k.mu.Unlock()
	k.forward(release)
	return k.next.ForceFlush(ctx)
}

// Shutdown discards undecided traces, then shuts the next processor down. Spans that start later are not watched.
func (k *Keeper) Shutdown(ctx context.Context) error {
	k.mu.Lock()
	release := k.table.close(time.Now())
	k.mu.Unlock()
	k.forward(release)
	if k.reg != nil {
		if err := k.reg.Unregister(); err != nil {
			return errors.Join(err, k.next.Shutdown(ctx))
		}
	}
	return k.next.Shutdown(ctx)
}

// KeepStats counts the traces that a Keeper watched, and spans, by outcome. The counts are exact. At any moment Started = Kept +
// Discarded + Overflowed + Pending. Every ended span that was not sampled and has no remote parent is in exactly one of the counts of
// spans.
type KeepStats struct {
	// Started counts the traces that began here, before Shutdown, and that the sampler dropped.
	Started int64
	// Kept counts the traces that were passed on.
	Kept int64
	// Discarded counts the traces in which nothing failed or was slow.
	Discarded int64
	// Overflowed counts the traces without a decision: too many at a time, or too old.
	Overflowed int64
	// Pending is the number of undecided traces.
	Pending int64

	// SpansKept counts the spans passed on.
	SpansKept int64
	// SpansDiscarded counts the spans of discarded traces.
	SpansDiscarded int64
	// SpansOverflowed counts the spans of watched traces that were lost to a bound.
	SpansOverflowed int64
	// SpansUnwatched counts the spans that ended while their trace was not watched: it never was, or was already discarded, given up or
	// forgotten. They went to the next processor unchanged, unsampled.
	SpansUnwatched int64
	// SpansBuffered is the number of spans held now.
	SpansBuffered int64
}

// Stats returns the current counts.
func (k *Keeper) Stats() KeepStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	stats := k.table.stats
	stats.Pending = int64(k.table.open.Len() + k.table.late.Len())
	return stats
}
