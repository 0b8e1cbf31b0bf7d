// Package driver is the contract between a sync.Session and its engines.
//
// An engine has leases, and a queue of claims for each name. The first claims of a queue hold a seat each. A claim ends with its lease.
// The portable type builds locks, elections and semaphores on these. It also validates calls, renews leases, watches deadlines, adds
// telemetry and wraps errors.
//
// # What a driver promises
//
//   - A claim that Acquire or Await reports as granted is among the first Claim.Seats of its queue at a moment between the call and its
//     return. The driver has read that from the engine: an event of a watch is not enough. The lease of the claim has not ended.
//   - Tokens increase with the place in the queue. Of two claims on a name, the one that is granted later has the larger token. This
//     holds even if claims were released, leases expired, or the engine restarted in between. [Safety] limits this promise.
//   - A claim disappears with its lease. A lease that is not renewed ends no earlier than its TTL after the last renewal reached the
//     engine, and no later than [LeaseLimits.Latest] after it.
//   - A claim lasts for its lease's TTL from when Acquire was sent, and again from each renewal that named it. It may end after that,
//     even if its lease was renewed without it.
//   - When a lease has ended, none of its claims is left in a queue, not even one of a call that failed.
//   - A withdrawn claim never returns. An Acquire of it that was sent earlier and arrives later creates no claim.
//   - All methods are safe for concurrent use, and return within a second of the end of their context.
//   - Errors are classified: Classify(ErrUnavailable, err). The engine's own error stays reachable.
//   - An idle driver sends no requests, except for renewals. A driver that must poll documents how often.
package driver

import (
	"context"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The classes of errors. An error that wraps none of them, and no context's error, counts as an unexpected fault of the engine. Drivers
// of other capabilities have the same values: sync.ErrUnavailable is kv.ErrUnavailable.
var (
	// ErrHeld: all seats are taken, and the request does not wait.
	ErrHeld = fault.Held
	// ErrLost: the lease or the claim no longer exists.
	ErrLost = fault.Lost
	// ErrInvalid: the request is invalid. A retry fails, too.
	ErrInvalid = fault.Invalid
	// ErrUnavailable: the engine was unreachable, or did not answer. The request may have taken effect.
	ErrUnavailable = fault.Unavailable
	// ErrDenied: the engine refuses the client, whose credentials or permissions are insufficient.
	ErrDenied = fault.Denied
	// ErrClosed: the driver was closed.
	ErrClosed = fault.Closed
)

// Token is a fencing token. Each grant of a name has a larger token than all earlier ones. Zero is no token.
type Token uint64

// LeaseID identifies a lease.
type LeaseID string

// Claim is a place in the queue of a name.
type Claim struct {
	// Name of the queue: valid UTF-8, not empty, within Capabilities.MaxName.
	Name string
	// ID identifies a claim of a queue: letters and digits. The same lease may reuse it after the claim has left the queue, when no
	// request about it is running.
	ID string
	// Lease of the claim.
	Lease LeaseID
	// Seats is the number of claims of the queue that hold a seat at a time. It is at least one.
	Seats int
	// Value is the holder's value that Watch emits, within Capabilities.MaxValue.
	Value []byte
	// Token that Acquire returned. Zero means that the outcome of Acquire is unknown.
	Token Token
}

// Driver is the interface that every engine implements.
type Driver interface {
	Queue
	Leaser
	Watcher
	// Capabilities returns values that are constant for the life of the driver. It sends no request.
	Capabilities() Capabilities
	// Close frees the resources of the driver within a tenth of a second, even if the engine does not answer. It is called once. Running
	// calls end with ErrClosed or with their own result. A client that was passed to the driver stays open.
	Close() error
}

// Validator is for drivers whose constructors return no error although their arguments may be invalid.
type Validator interface {
	// Validate returns ErrInvalid, with the reason, if the driver was created with invalid arguments. The portable type then returns this
	// error from every call, and calls no other method of the driver except Capabilities and Close.
	Validate() error
}

// Queue is the part of a driver that orders the claims of each name.
type Queue interface {
	// Acquire appends a claim to its queue, and reports whether it has a seat. With try, it returns ErrHeld instead of leaving a claim
	// without a seat. It returns ErrLost if the lease does not exist. After ErrUnavailable, or the end of the context, the claim may
	// exist.
	Acquire(ctx context.Context, c Claim, try bool) (t Token, granted bool, err error)
	// Await returns nil when a claim has a seat, and ErrLost when it no longer exists. After any other error the claim keeps its place.
	Await(ctx context.Context, c Claim) error
	// Release removes a claim from its queue, with or without a seat. It returns ErrLost if the claim was not in the queue.
	//
	// Without a token, Release withdraws the claim. When it returns nil or ErrLost, the claim is not in the queue. A later Acquire of the
	// same name, ID and lease returns an error and creates no claim. The ID is never reused.
	Release(ctx context.Context, c Claim) error
}

// Leaser is the part of a driver that manages leases.
type Leaser interface {
	// Grant creates a lease that ends after ttl unless it is renewed.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// Renew extends a lease and the given claims of it to the whole TTL from now. The claims have tokens. It returns the claims that are
	// no longer in their queues with their tokens, because an operator removed them or they were released meanwhile. It returns ErrLost
	// if the lease has ended; an ended lease never returns. After any other error, some of them may have been renewed.
	Renew(ctx context.Context, id LeaseID, claims []Claim) (gone []Claim, err error)
	// Revoke ends a lease and removes its claims from their queues. A lease that has already ended is not an error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Holder is the claim with the first seat of a name. The zero Holder means that there is none.
type Holder struct {
	// Token of the holder's claim.
	Token Token
	// Value of the holder's claim.
	Value []byte
}

// Watcher is the part of a driver that reports the holders of a name.
type Watcher interface {
	// Watch calls emit from one goroutine: with the holder of the first seat, and again whenever the holder may have changed. It blocks
	// until emit returns an error (which it returns), the context ends (whose error it returns), or the connection is lost (any other
	// error). A holder that was soon replaced may be skipped, but never the latest.
	Watch(ctx context.Context, name string, emit func(Holder) error) error
}
