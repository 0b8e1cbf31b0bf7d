// Package scope builds the instrumentation that the packages of configuration share. It never records values of a configuration.
package scope

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// The attributes of several packages.
const (
	NameKey    = attribute.Key("goos.config.name")
	VersionKey = attribute.Key("goos.config.version")

	operationKey = attribute.Key("goos.config.operation")
)

// New returns the instrumentation of a package, and the attributes of all its events. name is the name of the configuration, or empty.
// subject is the span attribute for the subject of a call.
func New(pkg, name string, subject attribute.Key, p telemetry.Providers) (*instrument.Scope, []attribute.KeyValue) {
	var attrs []attribute.KeyValue
	if name != "" {
		attrs = append(attrs, NameKey.String(name))
	}
	return instrument.New(instrument.Config{
		Name:        pkg,
		Duration:    "goos.config.operation.duration",
		Description: "Duration of an operation on configuration.",
		Attrs:       attrs,
		Subject:     subject,
	}, p), attrs
}

// Op returns an operation of the scope.
func Op(s *instrument.Scope, name string) *instrument.Op {
	return s.Op(name, "config "+name, operationKey.String(name))
}

// Observe runs a call with its telemetry. An empty subject means none. The error is recorded without the values that it shows.
func Observe(ctx context.Context, op *instrument.Op, subject string, do func(context.Context) error) (err error) {
	ctx, call := op.Start(ctx, subject)
	var recorded error
	defer call.End(ctx, &recorded)
	if err = do(ctx); err != nil {
		recorded = document.WithoutValues(err)
	}
	return err
}
