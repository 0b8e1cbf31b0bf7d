package discovery

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/control/discovery"

const (
	systemAttr   = attribute.Key("goos.discovery.system")
	serviceAttr  = attribute.Key("goos.discovery.service")
	instanceAttr = attribute.Key("goos.discovery.instance")
	placeAttr    = attribute.Key("goos.discovery.record")
)

// readObserver is how a Resolver observes itself.
type readObserver struct {
	lookup                                           *instrument.Op
	up, drain, goodbye, vanish, hold, invalid, outOf *instrument.Event
	system                                           attribute.KeyValue
}

func newScope(system string, p telemetry.Providers) *instrument.Scope {
	return instrument.New(instrument.Config{
		Name:        scope,
		Duration:    "goos.discovery.operation.duration",
		Description: "Duration of requests to the registry, and of lookups that wait for it.",
		Attrs:       []attribute.KeyValue{systemAttr.String(system)},
		Subject:     serviceAttr,
		Wrap:        wrap,
	}, p)
}

func observeReads(system string, p telemetry.Providers) readObserver {
	s := newScope(system, p)
	return readObserver{
		lookup:  s.Op("lookup", "lookup", operationAttr.String("lookup")),
		up:      s.Event("goos.discovery.instance.appeared", log.SeverityInfo, "instance appeared"),
		drain:   s.Event("goos.discovery.instance.draining", log.SeverityInfo, "instance drains"),
		goodbye: s.Event("goos.discovery.instance.departed", log.SeverityInfo, "instance deregistered"),
		vanish:  s.Event("goos.discovery.instance.vanished", log.SeverityWarn, "instance vanished without a goodbye"),
		hold:    s.Event("goos.discovery.instance.held", log.SeverityWarn, "instance vanished and is held: too many have"),
		invalid: s.Event("goos.discovery.record.invalid", log.SeverityWarn, "record of the registry cannot be decoded"),
		outOf:   s.Event("goos.discovery.watch.lost", log.SeverityWarn, "watch of the registry is lost: the last known instances stay"),
		system:  systemAttr.String(system),
	}
}

const operationAttr = attribute.Key("goos.discovery.operation")

func (o readObserver) about(r driver.Record) []attribute.KeyValue {
	return []attribute.KeyValue{o.system, serviceAttr.String(r.Service), instanceAttr.String(r.ID)}
}

func (o readObserver) appeared(ctx context.Context, r driver.Record) { o.up.Emit(ctx, o.about(r)...) }
func (o readObserver) draining(ctx context.Context, r driver.Record) {
	o.drain.Emit(ctx, o.about(r)...)
}
func (o readObserver) departed(ctx context.Context, r driver.Record) {
	o.goodbye.Emit(ctx, o.about(r)...)
}
func (o readObserver) vanished(ctx context.Context, r driver.Record) {
	o.vanish.Emit(ctx, o.about(r)...)
}
func (o readObserver) heldBack(ctx context.Context, r driver.Record) { o.hold.Emit(ctx, o.about(r)...) }

func (o readObserver) refused(ctx context.Context, service, place string, err error) {
	o.invalid.EmitError(ctx, err, o.system, serviceAttr.String(service), placeAttr.String(place))
}

func (o readObserver) lost(ctx context.Context, service string, err error) {
	o.outOf.EmitError(ctx, err, o.system, serviceAttr.String(service))
}

// writeObserver is how a Registrar observes itself.
type writeObserver struct {
	register, update, deregister              *instrument.Op
	leaseLost, failed, registered, superseded *instrument.Event
	system                                    attribute.KeyValue
}

func observeWrites(system string, p telemetry.Providers) writeObserver {
	s := newScope(system, p)
	return writeObserver{
		register:   s.Op("register", "register", operationAttr.String("register")),
		update:     s.Op("update", "update", operationAttr.String("update")),
		deregister: s.Op("deregister", "deregister", operationAttr.String("deregister")),
		leaseLost:  s.Event("goos.discovery.lease.lost", log.SeverityWarn, "lease of the registrations lost: registering again"),
		failed:     s.Event("goos.discovery.registration.failed", log.SeverityWarn, "registration failed and is retried"),
		registered: s.Event("goos.discovery.registration.restored", log.SeverityInfo, "registered again"),
		superseded: s.Event("goos.discovery.registration.superseded", log.SeverityError, "another process has registered the same service and ID"),
		system:     systemAttr.String(system),
	}
}

func (o writeObserver) about(service, id string) []attribute.KeyValue {
	return []attribute.KeyValue{o.system, serviceAttr.String(service), instanceAttr.String(id)}
}
