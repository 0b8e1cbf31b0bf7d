// Package driver defines the interfaces that a registry implements for package discovery.
//
// Registration and lookup are separate: a [Registrar] writes the instances of one process, a [Reader] follows the instances of a service. A
// registry may implement one of them or both. DNS, for example, is only read.
//
// # What the portable types do for a driver
//
// Records are validated before a driver sees them. The portable types replace lost leases, restore missing records and retry with backoff.
// They hold back suspicious removals, cache, observe and wrap errors. Drivers do none of that.
//
// # What a driver promises
//
//   - All methods are safe for concurrent use, and return within a second of the end of their context.
//   - A record disappears with its lease. A lease that is not renewed ends no earlier than its TTL after the last renewal reached the
//     registry.
//   - Of two records with one service and ID, the larger Epoch wins: Register returns ErrConflict for the other one.
//   - Deregister never removes the record of another incarnation.
//   - A watch shows the records of one moment, and then every change, or that it has lost its place.
//   - A record that cannot be decoded affects no other record: it is an EventInvalid.
//   - Errors are classified: Classify(ErrUnavailable, err). The registry's own error stays reachable.
//   - An idle driver sends no requests, except for renewals. A driver that polls documents how often.
package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
)

// The classes of errors. An error without a class that is no context error either counts as an unforeseen fault of the registry.
var (
	// ErrNotFound: the lease has ended, or nothing is known of the service.
	ErrNotFound = fault.NotFound
	// ErrConflict: a process that started later has registered the same service and ID.
	ErrConflict = fault.Conflict
	// ErrInvalid: the call would fail however often it is repeated.
	ErrInvalid = fault.Invalid
	// ErrTooLarge: the record is over the registry's limit.
	ErrTooLarge = fault.TooLarge
	// ErrUnavailable: the registry did not answer. The request may have been carried out.
	ErrUnavailable = fault.Unavailable
	// ErrDenied: the registry refuses the credentials or rights of the client.
	ErrDenied = fault.Denied
	// ErrClosed: the driver was closed.
	ErrClosed = fault.Closed
)

// Classify gives an error one of the classes above. The message does not repeat itself.
func Classify(class, err error) error { return fault.Classify(class, err) }

// State is the state that an instance reports.
type State uint8

const (
	// Up: the instance takes requests.
	Up State = iota
	// Unhealthy: the instance runs, and its own health check fails (discovery.RegistrarOptions.Health).
	Unhealthy
	// Draining: the instance finishes its requests and takes no new ones.
	Draining
	// Gone: the instance has deregistered. Its record remains for a while, so that readers can distinguish a goodbye from a loss.
	Gone
)

// String names the state.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Unhealthy:
		return "unhealthy"
	case Draining:
		return "draining"
	case Gone:
		return "gone"
	default:
		return "unknown"
	}
}

// states are the states by name.
var states = map[string]State{Up.String(): Up, Unhealthy.String(): Unhealthy, Draining.String(): Draining, Gone.String(): Gone}

// ParseState returns the state of this name, and ErrInvalid for an unknown one.
func ParseState(name string) (State, error) {
	s, ok := states[name]
	if !ok {
		return 0, fmt.Errorf("%w: state %q: use up, unhealthy, draining or gone", ErrInvalid, sanitize.Text(name, 32))
	}
	return s, nil
}

// MarshalText implements encoding.TextMarshaler: the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}

// DefaultWeight is the Weight of an instance that is registered without one.
const DefaultWeight = 100

// Instance is one process that provides a service.
type Instance struct {
	// Service that the instance provides, such as "orders".
	Service string
	// ID identifies an instance within its service.
	ID string
	// Version of the program. It may be empty.
	Version string
	// Addresses by protocol, such as "grpc": "10.0.0.7:9000". At least one.
	Addresses map[string]string
	// Zone is where the instance runs. It may be empty.
	Zone string
	// Weight is the share of requests that the instance should get, relative to the others of its service. In a registry and in the result of
	// a lookup, zero means none. Register takes zero for DefaultWeight; Update can set it.
	Weight int
	// Labels are further properties, by name.
	Labels map[string]string
	// State of the instance.
	State State
}

// MaxEpoch is above every Epoch. A record with this one or a larger one is invalid: there must be one for each later start.
const MaxEpoch = 1 << 62

// Record is an Instance as a registry keeps it.
type Record struct {
	Instance
	// Incarnation identifies the start of the process: random, and never reused.
	Incarnation string
	// Epoch orders the incarnations of one service and ID: a later start has a larger one.
	Epoch uint64
}

// Capabilities describe a registry.
type Capabilities struct {
	// System is the name of the registry, such as "etcd".
	System string
	// MinTTL and MaxTTL limit the TTL of a lease. Zero means no limit.
	MinTTL, MaxTTL time.Duration
	// MaxRecord is the length of the longest record, in bytes. Zero means no limit.
	MaxRecord int
}

// Registrar writes the instances of one process.
type Registrar interface {
	// Capabilities are constant, and known without a request.
	Capabilities() Capabilities
	// Grant makes a lease for all records of the process. It ends after ttl unless it is renewed.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
	// Close releases the driver's resources. It is called once.
	Close() error
}

// Lease is the lifetime that the records of a process share.
type Lease interface {
	// Renew extends the lease to its whole TTL. It returns ErrNotFound if the lease has ended.
	Renew(ctx context.Context) error
	// Revoke ends the lease and removes its records.
	Revoke(ctx context.Context) error
	// Epoch returns an epoch that is larger than the epoch of the present record of the service and ID, and at least the given one.
	Epoch(ctx context.Context, service, id string, least uint64) (uint64, error)
	// Register writes a record that lives with the lease. It returns ErrConflict if there is a record with a larger Epoch that is not Gone,
	// and ErrNotFound if the lease has ended. It does nothing if the record is in the registry as given.
	Register(ctx context.Context, r Record) error
	// Deregister replaces the record by a goodbye: the same with the state Gone, which lives for the given time, independently of the
	// lease. It does nothing if the record belongs to another incarnation.
	Deregister(ctx context.Context, r Record, keep time.Duration) error
	// Watch calls changed after any client has written or removed the record of this service and ID. It returns nil when ctx ends. After
	// another error it may have missed a change, and is called again.
	Watch(ctx context.Context, r Record, changed func()) error
}

// EventKind is the kind of an Event.
type EventKind uint8

// The kinds of events.
const (
	// EventPut: the record was written, or exists.
	EventPut EventKind = iota + 1
	// EventDelete: the record of this service and ID was removed.
	EventDelete
	// EventInvalid: a record cannot be decoded. Instance.ID is its place in the registry, and Err the reason.
	EventInvalid
	// EventResync: the known records may be wrong. All records follow as EventPut and EventInvalid, up to EventSynced.
	EventResync
	// EventSynced: the watch is in place. After an EventResync, records that were not shown do not exist.
	EventSynced
	// EventLost: the connection is lost, and the watch reconnects.
	EventLost
)

// Event is something that a watch reports.
type Event struct {
	// Kind of the event.
	Kind EventKind
	// Record that was written. An EventDelete has only the service and the ID.
	Record Record
	// Err is the reason of an EventInvalid or an EventLost.
	Err error
	// Age is how long the registry has been out of reach at an EventLost. Zero means from now on. A reader that forwards another reader's
	// events sets it.
	Age time.Duration
}

// Lister is an optional interface of a Reader that can name its services.
type Lister interface {
	// Services returns the names of the services that have at least one record, sorted.
	Services(ctx context.Context) ([]string, error)
}

// Drainer is an optional interface of a registry through which operators drain instances of other processes.
type Drainer interface {
	// Drain requests the process of an instance to drain it. The order ends with that process, with Undrain, or after keep. Drain returns
	// when the order is given; the process then writes the record. It returns ErrNotFound if the instance is not registered.
	Drain(ctx context.Context, service, id string, keep time.Duration) error
	// Undrain takes the order back. It returns ErrNotFound if there is none.
	Undrain(ctx context.Context, service, id string) error
}

// Reader follows the instances of services.
type Reader interface {
	// System is the name of the registry, as in Capabilities.
	System() string
	// Watch calls emit, from one goroutine, with EventResync, the records of the service, EventSynced, and then every change. It reconnects
	// by itself, and reports that. It returns nil when ctx ends, and the error of emit. A retry cannot fix any other error.
	Watch(ctx context.Context, service string, emit func(Event) error) error
	// Close releases the driver's resources. It is called once.
	Close() error
}
