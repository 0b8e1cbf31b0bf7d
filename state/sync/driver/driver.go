// Package driver is what an engine implements to stand behind a sync.Session.
//
// An engine keeps a queue of claims for each name, in which the first few hold a seat each, and leases: a claim ends with its lease. The
// portable type builds locks, elections and semaphores on that. It also validates, renews the leases, keeps the time, observes and wraps
// errors.
//
// # What a driver promises
//
//   - A claim that Acquire or Await reports as granted is, at a moment between the call and its return, among the first Claim.Seats of
//     its queue by the engine's own word: not by what a watch has told, and not if its lease is over.
//   - Tokens grow with the place in the queue: of two claims on a name, whichever was or could be granted later has the larger token,
//     whatever was released, expired or restarted in between. How far that holds is what [Safety] says.
//   - A claim disappears with its lease. A lease that is not renewed ends no earlier than its TTL after the last renewal reached the
//     engine, and no later than [LeaseLimits.Latest] after it.
//   - A claim lives for its lease's TTL from when Acquire was sent, and again from each renewal that named it. It may end after that,
//     even if its lease was renewed without it.
//   - Nothing but the lease keeps a claim in the queue: no claim is left over from a call that failed, once its lease is over.
//   - A claim that was withdrawn is gone for good: an Acquire of it that was sent before and arrives later makes none.
//   - All methods are safe for concurrent use, and return within a second of the end of their context.
//   - Errors are classified: Classify(ErrUnavailable, err). The engine's own error stays reachable.
//   - An idle driver sends no requests, except for renewals. A driver that has to poll documents how often.
package driver

import (
	"context"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The classes of errors. An error that has none of these classes, and is not that of a context, counts as an unforeseen fault of the
// engine. Drivers of other capabilities have the same values: sync.ErrUnavailable is kv.ErrUnavailable.
var (
	// ErrHeld: all seats are taken, and the request was not to wait.
	ErrHeld = fault.Held
	// ErrLost: the lease, or the claim, is no longer there.
	ErrLost = fault.Lost
	// ErrInvalid: the request makes no sense; it would fail however often it is repeated.
	ErrInvalid = fault.Invalid
	// ErrUnavailable: the engine could not be reached, or could not answer. The request may have been carried out.
	ErrUnavailable = fault.Unavailable
	// ErrDenied: the engine refuses the client: its credentials or its rights do not suffice.
	ErrDenied = fault.Denied
	// ErrClosed: the driver was closed.
	ErrClosed = fault.Closed
)

// Token orders the grants of one name: each has a larger one than those before it. Zero is none.
type Token uint64

// LeaseID identifies a lease.
type LeaseID string

// Claim is a place in the queue of a name.
type Claim struct {
	// Name of the queue: valid UTF-8, not empty, within Capabilities.MaxName.
	Name string
	// ID tells the claims of a queue apart: letters and digits. It is used again by the same lease, when the claim has left the
	// queue and no request about it is under way.
	ID string
	// Lease that the claim lives with.
	Lease LeaseID
	// Seats is how many claims of the queue hold a seat at a time; at least one.
	Seats int
	// Value is what Watch shows of a holder, within Capabilities.MaxValue.
	Value []byte
	// Token is what Acquire gave the claim. Zero means that it is not known, because the outcome of Acquire is not.
	Token Token
}

// Driver is an engine.
type Driver interface {
	Queue
	Leaser
	Watcher
	// Capabilities are constant for the life of the driver, and known without asking the engine.
	Capabilities() Capabilities
	// Close frees what the driver holds, within a tenth of a second whether the engine answers or not. It is called once. Calls under way
	// end with ErrClosed or as they would have. A client that was handed to the driver stays open.
	Close() error
}

// Validator is for drivers whose constructors return no error, though their arguments may be invalid.
type Validator interface {
	// Validate returns ErrInvalid, with the mistake, if the driver cannot work as it was made. The portable type then returns this error
	// from every call, and calls no other method of the driver but Capabilities and Close.
	Validate() error
}

// Queue is the claims of each name, in order.
type Queue interface {
	// Acquire puts a claim at the end of its queue, and reports whether it has a seat. With try it leaves no claim behind that has none,
	// and returns ErrHeld. ErrLost says that there is no such lease. After ErrUnavailable, or the end of the context, there may be a claim.
	Acquire(ctx context.Context, c Claim, try bool) (t Token, granted bool, err error)
	// Await returns nil when a claim has a seat, and ErrLost when it is gone. Any other error leaves it in its place.
	Await(ctx context.Context, c Claim) error
	// Release takes a claim out of its queue, whether it holds a seat or not. ErrLost says that it was not there.
	//
	// Without a token, Release withdraws the claim: when it returns nil or ErrLost, the claim is not in the queue, and an Acquire of
	// the same name, ID and lease that arrives later returns an error and makes no claim. The ID is never used again.
	Release(ctx context.Context, c Claim) error
}

// Leaser makes leases.
type Leaser interface {
	// Grant makes a lease that lives for ttl unless it is renewed.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// Renew gives a lease and these claims of it, which have tokens, the whole TTL again. It returns those claims that are no longer in
	// their queues under their tokens: somebody removed them, or they were released meanwhile. ErrLost says that the lease is over;
	// it is never brought back. After any other error, some of them may have been renewed.
	Renew(ctx context.Context, id LeaseID, claims []Claim) (gone []Claim, err error)
	// Revoke ends a lease and takes its claims out of their queues. One that is over already is no error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Holder is who holds the first seat of a name. The zero Holder is nobody.
type Holder struct {
	// Token of the holder's claim.
	Token Token
	// Value of the holder's claim.
	Value []byte
}

// Watcher tells who holds a name.
type Watcher interface {
	// Watch calls emit with the holder of the first seat, and again whenever that may have become another, from one goroutine. It
	// blocks until emit returns an error (which it returns), the context ends (whose error it returns), or the connection is lost:
	// any other error. A holder that was soon replaced may be skipped; the last one never is.
	Watch(ctx context.Context, name string, emit func(Holder) error) error
}
