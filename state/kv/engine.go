package kv

import (
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/state/kv/driver"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/state/kv"

const (
	keyAttr       = attribute.Key("goos.kv.key")
	batchSizeAttr = attribute.Key("db.operation.batch.size")
)

// engine is a driver with its capabilities and its instrumentation. A store and its namespaces share one. It is immutable.
type engine struct {
	driver.Driver
	caps Capabilities
	opts Options

	get, put, del, update, list, getMany, putMany, ping *instrument.Op
	grant, renew, revoke                                *instrument.Op
	watchLost, watchResync, leaseLost, mirrorInvalid    *instrument.Event
	invalidItems                                        metric.Int64Counter
	attrs                                               metric.MeasurementOption // of the counter
}

func newEngine(d driver.Driver, o Options) *engine {
	e := &engine{Driver: d, caps: d.Capabilities(), opts: o}
	e.observe()
	return e
}

func (e *engine) observe() {
	attrs := []attribute.KeyValue{attribute.String("db.system.name", e.caps.System)}
	target := ""
	if e.opts.Name != "" {
		attrs = append(attrs, attribute.String("db.collection.name", e.opts.Name))
		target = " " + e.opts.Name
	}
	s := instrument.New(instrument.Config{
		Name:        scope,
		Duration:    "db.client.operation.duration",
		Description: "Duration of database client operations.",
		Kind:        trace.SpanKindClient,
		Attrs:       attrs,
		Subject:     keyAttr,
		Wrap:        wrap,
	}, e.opts.Telemetry)
	for name, op := range map[string]**instrument.Op{
		"get": &e.get, "put": &e.put, "delete": &e.del, "update": &e.update, "list": &e.list, "get_many": &e.getMany, "put_many": &e.putMany,
		"ping": &e.ping, "lease_grant": &e.grant, "lease_renew": &e.renew, "lease_revoke": &e.revoke,
	} {
		*op = s.Op(name, name+target, attribute.String("db.operation.name", name))
	}
	e.watchLost = s.Event("goos.kv.watch.lost", log.SeverityWarn, "key-value watch lost its engine and retries")
	e.watchResync = s.Event("goos.kv.watch.resync", log.SeverityInfo, "key-value watch begins with a snapshot")
	e.mirrorInvalid = s.Event("goos.kv.mirror.invalid", log.SeverityWarn, "key-value mirror skips an item that does not decode")
	e.invalidItems = s.Meter().Counter("goos.kv.mirror.invalid_items", "{item}", "Items that a mirror could not decode.")
	e.attrs = metric.WithAttributeSet(attribute.NewSet(slices.Clone(attrs)...))
	e.leaseLost = s.Event("goos.kv.lease.lost", log.SeverityWarn, "key-value lease lost")
}

// able returns an error unless the engine has all of these abilities.
func (e *engine) able(a Ability) error {
	if missing := a &^ e.caps.Abilities; missing != 0 {
		return fmt.Errorf("%w: %s cannot do: %s", errors.ErrUnsupported, e.caps.System, missing)
	}
	return nil
}

// optional returns the engine as one of the optional interfaces of package driver, if it declares the ability.
func optional[T any](e *engine, a Ability) (T, error) {
	t, ok := e.Driver.(T)
	if err := e.able(a); err != nil {
		return t, err
	}
	if !ok {
		return t, fmt.Errorf("%w: the driver of %s declares %s without its interface", errors.ErrUnsupported, e.caps.System, a)
	}
	return t, nil
}

// wrap adds the operation and the key to an error. An error that already has the operation names an item of a batch.
func wrap(op, key string, err error) error {
	if e, ok := err.(*Error); ok && e.Op == op {
		return err
	}
	return &Error{Op: op, Key: key, Err: err}
}
