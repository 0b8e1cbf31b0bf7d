// Package sync provides locks, leader election and semaphores between processes, on many engines. They stay safe when machines fail.
//
//	session := sync.New(etcdsync.New(client, nil), &sync.Options{TTL: 15 * time.Second})
//	defer session.Close()
//	if err := session.Require(sync.Linearizable); err != nil { … }
//	err := session.Mutex("settlement").Do(ctx, func(ctx context.Context, g *sync.Grant) error { … })
//
// A [Session] is created on a driver. It has one lease at the engine for all grants and waiting claims of its process.
//
// # Guarantees of a grant
//
// A lock between machines differs from one of the standard library: its holder may be paused for a minute between two instructions, while
// another process takes over. A [Grant] offers two protections. Work that must be safe needs one of them:
//
//   - [Grant.Context] ends before the engine can hand the seat to another process. It ends a TTL minus [Options.Margin] after the last
//     successful renewal of its claim was sent, or after the acquisition was sent if no renewal followed. This machine's monotonic clock
//     decides that, even if the engine is unreachable. Its Err reads the clock itself, so that a paused process detects the end before
//     any timer has fired. The Err of a derived context does not: use [Lost]. The margin must cover how much slower this machine's clock
//     may run than the engine's within a TTL, and the time that work takes to stop.
//   - [Grant.Token] is a fencing token: it increases with every grant of a name. A server that receives the token with a request can
//     refuse requests of an earlier holder. [Fence] does so for items of a kv.Store.
//
// The context cannot end in time if an operator revokes the lease or removes the claim at the engine. The same holds while the machine is
// suspended, since Linux does not count that in the monotonic clock. The token still protects. The next renewal, within a TTL, detects
// what was removed.
//
// # Order and failure
//
//   - If Capabilities.Ordered is set, waiters are served in the order in which the engine received their claims. A waiter that gives up
//     leaves the queue at once. A waiter whose lease is lost joins again at the end.
//   - The seat of a dead process is free after its TTL, and no later than Capabilities.Lease.Latest(TTL).
//   - If the engine does not answer, the outcome of a claim is unknown. The session repeats its withdrawal until the engine confirms it,
//     or the lease has ended. The claim delays others for at most a TTL, even if the request arrives later.
//   - All grants of a Session share one lease: they are lost together, unless a single claim was removed.
//
// [Safety] is the class of an engine's promise. [Session.Require] refuses an engine that promises too little, at start-up.
//
// # Errors
//
// Every error is an [*Error] that names the operation and the name, and wraps one of the sentinels below, the error of the context, or
// errors.ErrUnsupported. The engine's own error stays reachable by errors.As. sync.ErrUnavailable, kv.ErrUnavailable and
// config.ErrUnavailable are the same value. The same holds for all errors that share a name.
//
// # Telemetry
//
// Scope github.com/go-os/go-os/state/sync. Attributes of all: goos.sync.system (the engine), goos.sync.kind (mutex, election or
// semaphore); on spans and events also goos.sync.name, and goos.sync.fencing_token where there is one.
//
//   - Spans, of kind internal: acquire, try_acquire, release and leader, followed by the kind. They have error.type on failure: held,
//     not_held, lost, invalid, unavailable, denied, closed, canceled, timeout, unsupported or _OTHER.
//   - goos.sync.wait.duration, histogram, in seconds: from the call to the grant, or to its failure; with goos.sync.operation (acquire or
//     try_acquire) and error.type.
//   - goos.sync.hold.duration, histogram, in seconds: from the grant to its end; with goos.sync.end: released, expired (no renewal in
//     time), revoked (the engine no longer has the lease or the claim) or closed.
//   - goos.sync.contentions, counter: acquisitions that found the seats taken and waited.
//   - goos.sync.waiting and goos.sync.held, up-down counters: claims of this process in the queues, and grants that it holds.
//
// Events, which are written to the Logger if OTel events are not enabled:
//
//   - goos.sync.lost (warning): a grant is over before it was released; with goos.sync.end and exception.*
//   - goos.sync.leader.elected and goos.sync.leader.resigned (info): this process leads, or has resigned
//   - goos.sync.leader.changed (info): an observer sees another leader, or none
//   - goos.sync.renewal.failed (warning): the engine did not answer a renewal, which is retried; with exception.*
package sync

import (
	"cmp"
	"errors"
	"fmt"
	gosync "sync"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/leases"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/telemetry"
)

// The errors of this package.
var (
	// ErrHeld: all seats are taken (of a call that does not wait), or the caller would wait for itself.
	ErrHeld = driver.ErrHeld
	// ErrNotHeld: there is nothing to release: the grant was released before, or there is no leader.
	ErrNotHeld = fault.New("not_held", "not held")
	// ErrLost: the grant ended before it was released. Its work may not have been protected to the end.
	ErrLost = driver.ErrLost
	// ErrInvalid: the call is invalid, and a retry fails, too: an empty name, a TTL outside the limits, a semaphore without seats.
	ErrInvalid = driver.ErrInvalid
	// ErrFenced: a holder with a larger token has written since.
	ErrFenced = fault.New("fenced", "fenced off")
	// ErrUnavailable: the engine did not answer.
	ErrUnavailable = driver.ErrUnavailable
	// ErrDenied: the engine refuses the client, whose credentials or permissions are insufficient. A retry fails until they are granted.
	ErrDenied = driver.ErrDenied
	// ErrClosed: the session was closed, or is being shut down.
	ErrClosed = driver.ErrClosed
)

// Error is the error of every operation of this package.
type Error struct {
	// Op is the operation: "acquire", "try_acquire", "release", "leader", "observe", "require", "fence", "lost".
	Op string
	// Name is the name of the lock, or the key of a fenced item.
	Name string
	// Err is the cause.
	Err error
}

// Error implements error. A long name is cut short.
func (e *Error) Error() string {
	const longest = 64
	switch {
	case e.Name == "" && !errors.Is(e.Err, ErrInvalid):
		return fmt.Sprintf("sync: %s: %v", e.Op, e.Err)
	case len(e.Name) > longest:
		return fmt.Sprintf("sync: %s %q…: %v", e.Op, e.Name[:longest], e.Err)
	default:
		return fmt.Sprintf("sync: %s %q: %v", e.Op, e.Name, e.Err)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// The types that the portable type and the drivers share.
type (
	// Token orders the grants of one name: each token is larger than those before it. Zero is no token.
	Token = driver.Token
	// Capabilities describe the features and the limits of an engine. See [driver.Capabilities] for the fields, and [driver.LeaseLimits]
	// for how late an engine may end the lease of a dead process (Lease.Latest).
	Capabilities = driver.Capabilities
	// Safety is the class of an engine's promise.
	Safety = driver.Safety
)

// The classes of safety, for Require.
const (
	Local        = driver.Local
	BestEffort   = driver.BestEffort
	SessionBound = driver.SessionBound
	Linearizable = driver.Linearizable
)

// The defaults of Options.
const (
	DefaultTTL        = 15 * time.Second
	DefaultTimeout    = 5 * time.Second
	DefaultBackoff    = 50 * time.Millisecond
	DefaultMaxBackoff = 2 * time.Second
)

// Options configure New.
type Options struct {
	// TTL is how long the engine keeps the seats of a process after its last renewal. The session renews three times per TTL. The TTL is
	// rounded up to Capabilities.Lease.Granularity. If it is outside Capabilities.Lease, calls return ErrInvalid. Default: DefaultTTL.
	TTL time.Duration
	// Margin is the time from the end of a grant until the engine could hand over its seat. It must be less than half the TTL. Default: a
	// tenth of the TTL.
	Margin time.Duration
	// Timeout limits one request to the engine; waiting for a seat does not count. It is at most a third of the TTL; longer values are
	// shortened to that. Default: DefaultTimeout.
	Timeout time.Duration
	// Backoff is the wait before the first retry. It doubles up to MaxBackoff, and half of it is random. Default: DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

// Session holds the lease, the grants and the waiting claims of a process at an engine. It is safe for concurrent use.
type Session struct {
	driver driver.Driver
	caps   Capabilities
	opts   Options
	fault  error // of every call; nil unless the session was created with invalid arguments
	observed

	opening chan struct{} // holds one token, which is required to open a lease
	life    life.Life
	work    gosync.WaitGroup // waited for by Close; nothing joins it once the life has ended

	mu       gosync.Mutex
	draining bool
	current  *lease              // for new claims; nil if there is none
	leases   map[*lease]struct{} // that have not ended
	idle     chan struct{}       // closed when the last grant ends, if Shutdown waits for it
	grants   map[*Grant]struct{} // that have not ended
}

// New returns a Session on d, which the session closes. It does no I/O and starts no goroutine. Every call and Require return ErrInvalid
// if the driver is nil or was created with invalid arguments, if an option is negative, or if the TTL is outside the engine's limits.
func New(d driver.Driver, opts *Options) *Session {
	if d == nil {
		d = noDriver{}
	}
	caps := d.Capabilities()
	o, err := opts.withDefaults(caps)
	return &Session{
		driver: d, caps: caps, opts: o, fault: cmp.Or(invalid(d), err), observed: observe(caps.System, o.Telemetry),
		opening: make(chan struct{}, 1), leases: map[*lease]struct{}{}, grants: map[*Grant]struct{}{},
	}
}

// withDefaults fills in the defaults, rounds the TTL, and checks the options against the engine's limits.
func (o *Options) withDefaults(caps Capabilities) (Options, error) {
	all := defaults.Copy(o)
	err := cmp.Or(
		defaults.Fill("sync.Options.TTL", &all.TTL, DefaultTTL),
		defaults.Fill("sync.Options.Timeout", &all.Timeout, DefaultTimeout),
		defaults.Fill("sync.Options.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("sync.Options.MaxBackoff", &all.MaxBackoff, DefaultMaxBackoff),
	)
	if err != nil {
		return all, err
	}
	if all.TTL, err = leases.Limits(caps.Lease).Fit(caps.System, all.TTL); err != nil {
		return all, err
	}
	if err := defaults.Fill("sync.Options.Margin", &all.Margin, all.TTL/10); err != nil {
		return all, err
	}
	if all.Margin >= all.TTL/2 {
		return all, fmt.Errorf("%w: a margin of %s: with a TTL of %s it must be below half of that", ErrInvalid, all.Margin, all.TTL)
	}
	all.Timeout = min(all.Timeout, all.TTL/3)
	return all, nil
}

// invalid returns the error of a driver that was created with invalid arguments, or nil.
func invalid(d driver.Driver) error {
	if v, ok := d.(driver.Validator); ok {
		return v.Validate()
	}
	return nil
}

// noDriver replaces a nil driver. Since it is invalid, no call reaches its nil methods.
type noDriver struct{ driver.Driver }

// Validate implements driver.Validator.
func (noDriver) Validate() error { return fmt.Errorf("%w: New was given no driver", ErrInvalid) }

// Capabilities implements driver.Driver.
func (noDriver) Capabilities() driver.Capabilities { return driver.Capabilities{System: "none"} }

// Close implements driver.Driver.
func (noDriver) Close() error { return nil }

// Capabilities returns the features and the limits of the engine.
func (s *Session) Capabilities() Capabilities { return s.caps }

// Require returns nil if the engine has at least this class of safety, and otherwise an error that wraps errors.ErrUnsupported. It
// returns ErrInvalid if the session was created with invalid arguments. Call it at start-up.
func (s *Session) Require(least Safety) error {
	err := s.fault
	if err == nil && s.caps.Safety < least {
		err = fmt.Errorf("%w: %s is %s, and %s is required", errors.ErrUnsupported, s.caps.System, s.caps.Safety, least)
	}
	if err != nil {
		return &Error{Op: "require", Err: err}
	}
	return nil
}
