package discovery

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/telemetry"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/control/discovery"

const (
	systemAttr    = attribute.Key("goos.discovery.system")
	operationAttr = attribute.Key("goos.discovery.operation")
	serviceAttr   = attribute.Key("goos.discovery.service")
	instanceAttr  = attribute.Key("goos.discovery.instance")
	placeAttr     = attribute.Key("goos.discovery.record")
	stateAttr     = attribute.Key("goos.discovery.state")
	reasonAttr    = attribute.Key("goos.discovery.reason")
)

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

// readObserver is how a Resolver observes itself.
type readObserver struct {
	lookup *instrument.Op

	appeared, draining, departed, vanished, held *instrument.Event
	recordInvalid, watchLost, snapshotFailed     *instrument.Event

	restarts metric.Int64Counter
	close    func() // ends the observation of the metrics
	system   attribute.KeyValue
}

// observeReads returns the observer of a Resolver. The metrics show the Resolver's Status.
func observeReads(system string, p telemetry.Providers, status func() []Status) readObserver {
	s := newScope(system, p)
	o := readObserver{
		lookup:         s.Op("lookup", "lookup", operationAttr.String("lookup")),
		appeared:       s.Event("goos.discovery.instance.appeared", log.SeverityInfo, "instance appeared"),
		draining:       s.Event("goos.discovery.instance.draining", log.SeverityInfo, "instance drains"),
		departed:       s.Event("goos.discovery.instance.departed", log.SeverityInfo, "instance deregistered"),
		vanished:       s.Event("goos.discovery.instance.vanished", log.SeverityWarn, "instance vanished without a goodbye"),
		held:           s.Event("goos.discovery.instance.held", log.SeverityWarn, "instance vanished and is held: too many have"),
		recordInvalid:  s.Event("goos.discovery.record.invalid", log.SeverityWarn, "record of the registry cannot be decoded"),
		watchLost:      s.Event("goos.discovery.watch.lost", log.SeverityWarn, "watch of the registry is lost: the last known instances stay"),
		snapshotFailed: s.Event("goos.discovery.snapshot.failed", log.SeverityWarn, "file of a snapshot cannot be used"),
		restarts:       s.Meter().Counter("goos.discovery.watch.restarts", "{restart}", "Watches that started over, by reason."),
		system:         systemAttr.String(system),
	}
	o.close = o.observe(s.Meter(), status)
	return o
}

// observe reports the state of the snapshots at each collection.
func (o readObserver) observe(m instrument.Meter, status func() []Status) (stop func()) {
	age := m.ObservableGauge("goos.discovery.snapshot.age", "s", "Time for which the registry has been out of reach.")
	instances := m.ObservableUpDownCounter("goos.discovery.instances", "{instance}", "Instances of a service, by their state, or held.")
	invalid := m.ObservableUpDownCounter("goos.discovery.records.invalid", "{record}", "Records of a service that cannot be decoded.")
	return m.Observe(func(_ context.Context, to metric.Observer) error {
		for _, s := range status() {
			service := serviceAttr.String(s.Service)
			by := metric.WithAttributes(o.system, service)
			to.ObserveFloat64(age, s.Age.Seconds(), by)
			to.ObserveInt64(invalid, int64(len(s.Invalid)), by)
			for _, state := range []State{Up, Unhealthy, Draining} {
				to.ObserveInt64(instances, int64(s.States[state]), metric.WithAttributes(o.system, service, stateAttr.String(state.String())))
			}
			to.ObserveInt64(instances, int64(len(s.Held)), metric.WithAttributes(o.system, service, stateAttr.String("held")))
		}
		return nil
	}, age, instances, invalid)
}

// maxAttr is the length limit of names from the registry in telemetry, in bytes. Other programs may have written them.
const maxAttr = 256

// about returns the attributes of an event about an instance.
func (o readObserver) about(r driver.Record) []attribute.KeyValue {
	return []attribute.KeyValue{o.system, serviceAttr.String(r.Service), instanceAttr.String(sanitize.Text(r.ID, maxAttr))}
}

func (o readObserver) refused(ctx context.Context, service, place string, err error) {
	o.recordInvalid.EmitError(ctx, err, o.system, serviceAttr.String(service), placeAttr.String(sanitize.Text(place, maxAttr)))
}

func (o readObserver) lost(ctx context.Context, service string, err error) {
	o.watchLost.EmitError(ctx, err, o.system, serviceAttr.String(service))
}

func (o readObserver) diskFailed(ctx context.Context, service string, err error) {
	o.snapshotFailed.EmitError(ctx, err, o.system, serviceAttr.String(service))
}

// restarted counts a watch that starts over. The reason is "resync" or an error.type.
func (o readObserver) restarted(ctx context.Context, reason string) {
	o.restarts.Add(ctx, 1, metric.WithAttributes(o.system, reasonAttr.String(reason)))
}

// writeObserver is how a Registrar observes itself.
type writeObserver struct {
	register, update, deregister                        *instrument.Op
	leaseLost, failed, registered, superseded, sickened *instrument.Event

	losses metric.Int64Counter
	close  func() // ends the observation of the metrics
	system attribute.KeyValue
}

// observeWrites returns the observer of a Registrar. registrations counts its registrations by service and state.
func observeWrites(system string, p telemetry.Providers, registrations func() map[registrationState]int) writeObserver {
	s := newScope(system, p)
	o := writeObserver{
		register:   s.Op("register", "register", operationAttr.String("register")),
		update:     s.Op("update", "update", operationAttr.String("update")),
		deregister: s.Op("deregister", "deregister", operationAttr.String("deregister")),
		leaseLost:  s.Event("goos.discovery.lease.lost", log.SeverityWarn, "lease of the registrations lost: registering again"),
		failed:     s.Event("goos.discovery.registration.failed", log.SeverityWarn, "registration failed and is retried"),
		registered: s.Event("goos.discovery.registration.restored", log.SeverityInfo, "registered after a failure"),
		superseded: s.Event("goos.discovery.registration.superseded", log.SeverityError, "another process has registered the same service and ID"),
		sickened:   s.Event("goos.discovery.registration.unhealthy", log.SeverityWarn, "health check failed: instances are registered as unhealthy"),
		losses:     s.Meter().Counter("goos.discovery.lease.losses", "{lease}", "Leases that ended although they were renewed, by error.type."),
		system:     systemAttr.String(system),
	}
	count := s.Meter().ObservableUpDownCounter("goos.discovery.registrations", "{registration}", "Instances of this process, by whether they are registered.")
	o.close = s.Meter().Observe(func(_ context.Context, to metric.Observer) error {
		for by, n := range registrations() {
			to.ObserveInt64(count, int64(n), metric.WithAttributes(o.system, serviceAttr.String(by.service), stateAttr.String(by.state)))
		}
		return nil
	}, count)
	return o
}

// registrationState holds the attributes by which registrations are counted.
type registrationState struct{ service, state string }

// The states of a registration in the telemetry.
const (
	isRegistered = "registered"
	isPending    = "pending"
	isSuperseded = "superseded"
)

// lost reports a lease that has ended.
func (o writeObserver) lost(ctx context.Context, err error) {
	o.leaseLost.EmitError(ctx, err, o.system)
	o.losses.Add(ctx, 1, metric.WithAttributes(o.system, semconv.ErrorTypeKey.String(fault.Type(err))))
}

func (o writeObserver) about(service, id string) []attribute.KeyValue {
	return []attribute.KeyValue{o.system, serviceAttr.String(service), instanceAttr.String(id)}
}
