package versions

import (
	"cmp"
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/internal/scope"
	"github.com/go-os/go-os/internal/instrument"
)

const scopeName = "github.com/go-os/go-os/control/config/versions"

const (
	authorKey  = attribute.Key("goos.config.author")
	reasonKey  = attribute.Key("goos.config.reason")
	percentKey = attribute.Key("goos.config.percent")
)

// instruments observe a layer.
type instruments struct {
	attrs  []attribute.KeyValue
	ops    map[string]*instrument.Op
	events map[string]*instrument.Event
}

func newInstruments(o Options) instruments {
	s, attrs := scope.New(scopeName, o.Name, scope.VersionKey, o.Telemetry)
	i := instruments{attrs: attrs, ops: map[string]*instrument.Op{}, events: map[string]*instrument.Event{}}
	for _, name := range []string{
		"publish", "get", "head", "history", "diff", "rollback", "stage", "advance", "promote", "abort", "rollout", "instances",
	} {
		i.ops[name] = scope.Op(s, name)
	}
	for _, e := range []struct {
		name, message string
		severity      log.Severity
	}{
		{"published", "configuration published", log.SeverityInfo},
		{"rollout.started", "configuration rollout started", log.SeverityInfo},
		{"rollout.advanced", "configuration rollout advanced", log.SeverityInfo},
		{"rollout.held", "configuration rollout held", log.SeverityInfo},
		{"rollout.promoted", "configuration rollout promoted", log.SeverityInfo},
		{"rollout.aborted", "configuration rollout aborted", log.SeverityWarn},
	} {
		i.events[e.name] = s.Event("goos.config."+e.name, e.severity, e.message)
	}
	return i
}

// do runs an operation with its telemetry, and adds the operation to its error. number is the version of the operation, or 0.
func (v *Layer) do(ctx context.Context, op string, number int, run func(context.Context) error) error {
	subject := ""
	if number != 0 {
		subject = layerVersion(v.layer, number)
	}
	return scope.Observe(ctx, v.instruments.ops[op], subject, func(ctx context.Context) error { return v.wrap(op, run(ctx)) })
}

func (v *Layer) emit(ctx context.Context, name string, number int, percent float64, author, reason string) {
	v.instruments.events[name].Emit(ctx, slices.Concat(v.instruments.attrs, []attribute.KeyValue{
		scope.VersionKey.String(layerVersion(v.layer, number)), percentKey.Float64(percent), authorKey.String(author), reasonKey.String(instrument.Message(reason)),
	})...)
}

// wrap adds the operation to an error.
func (v *Layer) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) == 1 {
		err = joined.Unwrap()[0]
	}
	if known, ok := err.(*config.Error); ok {
		named := *known
		named.Op = cmp.Or(named.Op, op)
		return &named
	}
	return &config.Error{Op: op, Source: v.layer, Err: err}
}
