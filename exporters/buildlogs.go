package exporters

import (
	"context"
	"fmt"
	"log/slog"

	lognoop "go.opentelemetry.io/otel/log/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/trace"
)

func (p *Pipeline) buildLogs(ctx context.Context, res *resource.Resource) error {
	if p.settings.logs.off {
		p.providers.LoggerProvider = lognoop.NewLoggerProvider()
		p.providers.Logger = p.logger(false)
		return nil
	}
	processors := append([]sdklog.Processor(nil), p.opts.LogProcessors...)
	if p.opts.EventsOnSpans {
		processors = append(processors, trace.NewEventBridge())
	}
	processors = append(processors, eventEcho{p.forwarder.handler(p.local)})
	sending := len(p.opts.LogProcessors) > 0
	for _, to := range p.settings.logs.to {
		var e sdklog.Exporter
		var err error
		kind := "stdout_log_exporter"
		if to.exporter == toConsole {
			e, err = newConsoleRecords(p.console)
		} else {
			e, kind, err = to.otlp.records(ctx)
		}
		if err != nil {
			return fmt.Errorf("exporters: %s exporter of logs: %w", to.exporter, err)
		}
		processors = append(processors, newRecordBatcher(p.open(Logs, kind, to.batch.queue), p.sized(to.batch), e))
		sending = true
	}
	opts := append([]sdklog.LoggerProviderOption{sdklog.WithResource(res)}, p.settings.logLimits...)
	if p.leaks {
		opts = append(opts, sdklog.WithProcessor(recordResource{&ownResource{want: res}}))
	}
	var stage atOnce
	for _, lp := range processors {
		opts = append(opts, sdklog.WithProcessor(lp))
		stage = append(stage, lp)
	}
	p.providers.LoggerProvider = loggers{sdklog.NewLoggerProvider(opts...)}
	p.providers.Logger = p.logger(sending)
	p.stages = append(p.stages, stage.stage(Logs))
	return nil
}

// logger returns the program's logger: the local handler, and the logger provider if logs leave the process.
func (p *Pipeline) logger(sending bool) *slog.Logger {
	if !sending {
		return slog.New(p.local)
	}
	return slog.New(log.NewHandler(p.logOptions(), append(p.sinks[:len(p.sinks):len(p.sinks)], log.OTel(scope, p.providers))...))
}
