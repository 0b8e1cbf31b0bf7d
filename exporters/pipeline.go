package exporters

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/trace"
)

// Pipeline is the result of Setup. It is safe for concurrent use.
type Pipeline struct {
	opts      *Options
	settings  settings
	providers telemetry.Providers
	page      http.Handler
	reader    sdkmetric.Reader // of the page; nil without one
	sampler   *trace.Sampler
	leaks     bool         // the SDK would add the process's environment to the resource
	sinks     []log.Sink   // the readable log and the program's own
	local     slog.Handler // on the sinks: for failures of OTLP
	own       *slog.Logger // of the pipeline, on local by the forwarder
	errors    *errorLog
	ledgers   []*ledger // complete before build ends
	reporter  *reporter
	stages    []stage
	console   *exclusiveWriter // to Options.Console
	forwarder *forwarder       // takes the pipeline's own lines to local
	draining  chan struct{}    // closed when Shutdown begins
	ended     chan struct{}    // closed when Shutdown is done
	once      sync.Once
	shutErr   error // read after ended
}

// stage flushes and shuts down one signal.
type stage struct {
	signal   Signal
	flush    func(context.Context) error
	shutdown func(context.Context) error
}

// newPipeline returns a pipeline that build completes.
func newPipeline(o *Options, s settings) *Pipeline {
	draining := make(chan struct{})
	return &Pipeline{
		opts: o, settings: s, console: newExclusiveWriter(o.Console), forwarder: &forwarder{}, draining: draining, ended: make(chan struct{}), sampler: trace.NewSampler(s.sampler),
		errors: newErrorLog(o.ReportInterval, draining), reporter: newReporter(o.ReportInterval),
	}
}

// buildLocal creates the readable log, once there is a meter for its dropped records, and the logger of the pipeline itself.
func (p *Pipeline) buildLocal() {
	w := p.opts.LogWriter
	if sameWriter(w, p.opts.Console) {
		w = p.console
	}
	switch {
	case p.opts.LogWriter == io.Discard:
	case p.opts.LogJSON:
		p.sinks = append(p.sinks, log.JSON(w, nil))
	default:
		p.sinks = append(p.sinks, log.Text(w, nil))
	}
	for _, sink := range p.opts.Sinks {
		p.sinks = append(p.sinks, log.TraceIDs(sink))
	}
	p.local = log.NewHandler(p.logOptions(), p.sinks...)
	p.own = slog.New(p.forwarder.handler(log.Named(slog.New(p.local), "goos.exporters").Handler()))
	p.errors.start(p.own)
}

func (p *Pipeline) logOptions() *log.Options {
	return &log.Options{
		Levels: p.opts.LogLevels, Redact: p.opts.Redact, Telemetry: p.providers, ErrorHandler: p.errors.Handle,
	}
}

// Providers returns the handles to pass to every package.
func (p *Pipeline) Providers() telemetry.Providers { return p.providers }

// MetricsHandler returns the page for Prometheus: the program's metrics, and those of Options.Gatherer.
func (p *Pipeline) MetricsHandler() http.Handler { return p.page }

// Logger returns the logger of the program. It writes to the readable log, to Options.Sinks, and to OTLP if logs are exported.
func (p *Pipeline) Logger() *slog.Logger { return p.providers.Logger }

// Levels returns the log levels, which can be changed while the program runs.
func (p *Pipeline) Levels() *log.Levels { return p.opts.LogLevels }

// Sampler returns the sampler, which can be changed while the program runs.
func (p *Pipeline) Sampler() *trace.Sampler { return p.sampler }

// reportWarnings logs the problems that Setup found in the configuration.
func (p *Pipeline) reportWarnings(ctx context.Context, warnings []warning) {
	reported := make(map[warning]bool)
	for _, w := range warnings {
		if !reported[w] {
			reported[w] = true
			p.own.LogAttrs(ctx, slog.LevelWarn, "telemetry configuration: "+w.name+": "+w.text)
		}
	}
}

// ForceFlush exports all waiting items, the signals in parallel, until ctx ends. Its error reports items that were lost or could not be
// exported in time. The pipeline continues to work.
func (p *Pipeline) ForceFlush(ctx context.Context) error {
	return p.each(ctx, func(s stage) error { return s.flush(ctx) })
}

// Shutdown exports the waiting items and ends the pipeline. Call it last, when nothing emits telemetry any more. The signals drain in
// parallel, each for Options.ShutdownTimeout and no longer than ctx. The rest is dropped and counted; the error has the number and the
// reason. Metrics wait for the others up to half their time, so that their last export has the final counts.
//
// Shutdown returns shortly after ctx ends, even if a writer, a handler or a processor of the program blocks; its error names the
// signal. Pass a context that has not ended (context.WithoutCancel): that of the program's run usually has when the program stops.
//
// Spans that end and records that are emitted afterwards are counted as dropped. A second call waits for the first, no longer than its
// own ctx, and returns the same error.
func (p *Pipeline) Shutdown(ctx context.Context) error {
	p.once.Do(func() {
		close(p.draining)
		go func() {
			defer close(p.ended)
			p.shutErr = p.shutdown(ctx)
		}()
	})
	// The context of the first call and a short Grace bound each step of shutdown.
	if !delivery.Await(ctx, p.ended, 5*delivery.Grace) {
		return fmt.Errorf("exporters: Shutdown has not finished: %w", context.Cause(ctx))
	}
	return p.shutErr
}

func (p *Pipeline) shutdown(ctx context.Context) error {
	p.reporter.halt()
	var others sync.WaitGroup
	for _, s := range p.stages {
		if s.signal != Metrics {
			others.Add(1)
		}
	}
	drained := make(chan struct{})
	go func() { others.Wait(); close(drained) }()
	err := p.each(ctx, func(s stage) error {
		ctx, cancel := context.WithTimeout(ctx, p.opts.ShutdownTimeout)
		defer cancel()
		if s.signal == Metrics {
			await(ctx, drained, p.opts.ShutdownTimeout/2)
		} else {
			defer others.Done()
		}
		return s.shutdown(ctx)
	})
	p.reporter.last(ctx)
	p.forwarder.flush(ctx)
	return err
}

// await waits until done, for limit, or for half of the time left in ctx.
func await(ctx context.Context, done <-chan struct{}, limit time.Duration) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// each runs do for all signals in parallel and joins the errors, in the order of the signals.
func (p *Pipeline) each(ctx context.Context, do func(stage) error) error {
	return together(ctx, 3*delivery.Grace, len(p.stages), func(i int) error {
		if err := do(p.stages[i]); err != nil {
			return fmt.Errorf("exporters: %s: %w", p.stages[i].signal, err)
		}
		return nil
	})
}

// abandon frees the resources of a failed Setup. Nothing was emitted yet, so nothing is drained.
func (p *Pipeline) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.Shutdown(ctx)
}
