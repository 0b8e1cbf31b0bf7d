// Package discovery registers the instances of services, and finds them by the names of the services.
//
//	registry, err := kvdiscovery.New(store, nil)
//	…
//	registrar, err := discovery.NewRegistrar(registry, nil)
//	…
//	registration, err := registrar.Register(ctx, discovery.Instance{
//		Service: "orders", ID: hostname, Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
//	})
//	…
//	resolver, err := discovery.NewResolver(registry, nil)
//	…
//	payments, err := resolver.Lookup(ctx, "payments")
//	for _, instance := range payments.Instances { … }
//
// A [Registrar] keeps the instances of one process in the registry. A [Resolver] holds the instances of other services in memory. Either
// works without the other. A process makes one of each at start-up. HTTP and gRPC clients call services by name with oshttp.NewServices and
// osgrpc.WithDiscovery. The guide docs/guides/discovery.md describes the life of a service.
//
// # Registration
//
// A Registrar never gives up. All instances of the process share one lease, which is renewed three times a TTL. After an outage longer than
// the lease it grants a new lease and registers again, at most a third of a TTL after the registry has recovered. A record that another
// client removed or altered is written again at once.
//
// Register when the server listens. [Registration.Check] returns nil while the instance is registered: use it as a readiness check. If a load
// balancer routes by readiness, ignore ErrUnavailable once Check has returned nil. An outage of the registry would take all instances out.
//
// To leave without a failed request, call [Registration.Drain], wait until the readers have seen it, shut the server down, and call
// [Registration.Close]. A second is ample for a registry that pushes changes.
//
// Two processes with one service and ID cannot both be registered. The later start wins. The other one is no longer registered, and its
// Check returns ErrConflict. Choose an ID that a restart keeps: the new process then replaces the record of the old one at once.
//
// # Lookup
//
// The first Lookup of a service waits for the registry. Later ones read memory. While the registry is away, the last known
// instances stay, and [Snapshot.Age] grows. With ResolverOptions.SnapshotDir they survive a restart of the process, too.
//
// An instance that deregisters says goodbye, and is removed at once. A record that vanishes without a goodbye may belong to a dead process,
// or the registry may have lost it. So a vanished instance is held, and stays in the Snapshot, if
//
//   - it is the last one of its service, or
//   - at least two, and more than ResolverOptions.HoldShare of the service, have vanished within ResolverOptions.HoldWindow.
//
// A hold ends when the instance is registered again or says goodbye, after three reports of failure ([Resolver.Report]), or after
// ResolverOptions.HoldTime. A service is therefore never empty because of a fault of the registry.
//
// # Errors
//
// Every error of a method is an [*Error] that names the operation and the service. It wraps one of the sentinels below or the error of the
// context. The registry's own error stays reachable by errors.As. kv.ErrUnavailable and discovery.ErrUnavailable are the same value; so are
// all errors that share a name.
//
// # Telemetry
//
// Scope github.com/go-os/go-os/control/discovery. Register, Update, Close and a Lookup that waits are spans named register, update,
// deregister and lookup, and points on the histogram goos.discovery.operation.duration, in seconds. Both have goos.discovery.operation,
// goos.discovery.system (the registry) and, on failure, error.type. Spans have goos.discovery.service. A Lookup from memory is not observed.
//
// Metrics of a Resolver, all with goos.discovery.system, and by goos.discovery.service but for the restarts:
//
//   - goos.discovery.snapshot.age: seconds for which the registry has been out of reach
//   - goos.discovery.instances: instances by goos.discovery.state: up, unhealthy, draining, held
//   - goos.discovery.records.invalid: records that cannot be decoded
//   - goos.discovery.watch.restarts: watches that started over, by goos.discovery.reason: resync, or an error.type
//
// Metrics of a Registrar:
//
//   - goos.discovery.registrations: instances of this process by goos.discovery.state: registered, pending, superseded
//   - goos.discovery.lease.losses: leases that ended although they were renewed, by error.type
//
// Events are written to the Logger if OTel events are not enabled. Events about an instance have goos.discovery.service and
// goos.discovery.instance:
//
//   - goos.discovery.instance.appeared, goos.discovery.instance.draining, goos.discovery.instance.departed (info)
//   - goos.discovery.instance.vanished, goos.discovery.instance.held (warning): without a goodbye
//   - goos.discovery.record.invalid (warning): with goos.discovery.record, its place in the registry
//   - goos.discovery.watch.lost (warning): the registry is out of reach; once until it is back
//   - goos.discovery.snapshot.failed (warning): a file of SnapshotDir cannot be read or written
//   - goos.discovery.lease.lost, goos.discovery.registration.failed (warning), goos.discovery.registration.restored (info)
//   - goos.discovery.registration.superseded (error): a process that started later has registered the same service and ID
//   - goos.discovery.registration.unhealthy (warning): RegistrarOptions.Health has failed
package discovery

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/internal/naming"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
)

// The errors that callers distinguish.
var (
	// ErrNotFound: the registry has no record of the service.
	ErrNotFound = driver.ErrNotFound
	// ErrConflict: a process that started later has registered the same service and ID.
	ErrConflict = driver.ErrConflict
	// ErrInvalid: a retry cannot succeed: an instance without an address, a negative option.
	ErrInvalid = driver.ErrInvalid
	// ErrTooLarge: the record of the instance is over the registry's limit.
	ErrTooLarge = driver.ErrTooLarge
	// ErrUnavailable: the registry does not answer. From a lookup: the service is not known from memory or a file either.
	ErrUnavailable = driver.ErrUnavailable
	// ErrDenied: the registry refuses the credentials or rights of the client.
	ErrDenied = driver.ErrDenied
	// ErrClosed: the Registrar, the Registration or the Resolver was closed.
	ErrClosed = driver.ErrClosed
)

// State is the state that an instance reports.
type State = driver.State

// The states of an instance.
const (
	// Up: the instance takes requests.
	Up = driver.Up
	// Unhealthy: the instance runs, and its own health check fails.
	Unhealthy = driver.Unhealthy
	// Draining: the instance finishes its requests and takes no new ones.
	Draining = driver.Draining
	// Gone: the instance has deregistered.
	Gone = driver.Gone
)

// Instance is one process that provides a service. See driver.Instance for the fields.
type Instance = driver.Instance

// Error is the error of every operation of this package.
type Error struct {
	// Op is the operation: "register", "update", "deregister", "check", "lookup", "watch".
	Op string
	// Service is the name of the service.
	Service string
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("discovery: %s %q: %v", e.Op, sanitize.Text(e.Service, naming.Max), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func wrap(op, service string, err error) error { return &Error{Op: op, Service: service, Err: err} }

// The limits of an instance, beside that of names. They keep a record small enough for every registry.
const (
	maxLabels = 64
	maxText   = 1 << 10
)

// check returns nil if an instance can be registered.
func check(i Instance) error {
	if err := naming.CheckService(i.Service); err != nil {
		return err
	}
	if err := naming.Check("instance ID", i.ID); err != nil {
		return err
	}
	for protocol := range i.Addresses {
		if err := naming.Check("protocol", protocol); err != nil {
			return err
		}
	}
	if err := checkRead(i); err != nil {
		return err
	}
	return checkTexts(i)
}

// checkRead returns nil if others can connect to an instance. Names are not checked: other writers of the registry have their own rules.
func checkRead(i Instance) error {
	if len(i.Addresses) == 0 {
		return fmt.Errorf("%w: instance %q has no address: set Addresses, such as {\"grpc\": \"10.0.0.7:9000\"}", fault.Invalid, i.ID)
	}
	for protocol, address := range i.Addresses {
		if err := checkAddress(address); err != nil {
			return fmt.Errorf("%w: address %q of %q: %w", fault.Invalid, address, protocol, err)
		}
	}
	if i.Weight < 0 || i.Weight > maxWeight {
		return fmt.Errorf("%w: a weight of %d: use 0 to %d", fault.Invalid, i.Weight, maxWeight)
	}
	return nil
}

// DefaultWeight is the Weight of an instance that is registered without one.
const DefaultWeight = driver.DefaultWeight

const maxWeight = 1_000_000

// checkAddress returns nil for a host and a port that others can connect to.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("the host is unspecified: give the address that others connect to")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q: use 1 to 65535", port)
	}
	return nil
}

func checkTexts(i Instance) error {
	if len(i.Labels) > maxLabels {
		return fmt.Errorf("%w: %d labels: use %d at most", fault.Invalid, len(i.Labels), maxLabels)
	}
	texts := map[string]string{"version": i.Version, "zone": i.Zone}
	for name, value := range i.Labels {
		if name == "" {
			return fmt.Errorf("%w: a label has no name", fault.Invalid)
		}
		texts["label "+strings.ToValidUTF8(name, "?")] = name + value
	}
	for what, text := range texts {
		if len(text) > maxText || !utf8.ValidString(text) {
			return fmt.Errorf("%w: %s: use UTF-8 of %d bytes at most", fault.Invalid, what, maxText)
		}
	}
	return nil
}

// cloned returns a copy that shares no map with the instance.
func cloned(i Instance) Instance {
	i.Addresses, i.Labels = maps.Clone(i.Addresses), maps.Clone(i.Labels)
	return i
}

// same reports whether two instances are equal in every field.
func same(a, b Instance) bool {
	if !maps.Equal(a.Addresses, b.Addresses) || !maps.Equal(a.Labels, b.Labels) {
		return false
	}
	a.Addresses, a.Labels, b.Addresses, b.Labels = nil, nil, nil, nil
	return a.Service == b.Service && a.ID == b.ID && a.Version == b.Version && a.Zone == b.Zone && a.Weight == b.Weight && a.State == b.State
}
