// Package driver is the contract between a kv.Store and its engines.
//
// A driver implements [Driver], which has five methods. It declares further features of its engine as [Ability] values in its
// [Capabilities], and implements the interface of each: [Lister], [Watcher], [Batcher] or [Leaser]. An ability without its interface, or
// an interface without its ability, fails the suite in kvtest. [Pinger] and [Validator] need no ability.
//
// # What the portable type does for a driver
//
// Keys that reach a driver are non-empty valid UTF-8 within MaxKey. Values are within MaxValue. TTLs are within the declared limits, and
// rounded up to the granularity. Requests have no options that contradict each other, and need no ability that is not declared. No method
// is called after Close. The portable type also adds telemetry and namespaces, retries a lost watch, and wraps errors.
//
// # What a driver promises
//
//   - All methods are safe for concurrent use, and return within a second of the end of their context.
//   - A driver neither keeps nor changes the values of its arguments after a call. Values that it returns belong to the caller.
//   - Every key round-trips. If an engine reserves bytes, its driver escapes them.
//   - A key never gets the same version twice, even after it was deleted.
//   - Errors are classified: Classify(ErrUnavailable, err). The engine's own error stays reachable, and no message repeats itself.
//   - A read that begins after an event is not older than that event, from any replica. EventSynced counts as one.
//   - A write that returned ErrConflict, ErrInvalid or ErrTooLarge has changed nothing. One that returned ErrUnavailable, or
//     the error of its context, may have happened.
//   - An item that is overwritten or deleted leaves nothing in the engine until a TTL ends, such as a lease.
//   - An idle driver sends no requests, except for keep-alives.
package driver

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The classes of errors. An error that wraps none of them, and no context's error, counts as an unexpected fault of the engine. Drivers
// of other capabilities have the same values: kv.ErrUnavailable is sync.ErrUnavailable.
var (
	// ErrNotFound: the key, or the lease, does not exist.
	ErrNotFound = fault.NotFound
	// ErrConflict: the item is not in the state that a conditional write expects.
	ErrConflict = fault.Conflict
	// ErrInvalid: the request is invalid. A retry fails, too.
	ErrInvalid = fault.Invalid
	// ErrTooLarge: the key or the value is over the engine's limit.
	ErrTooLarge = fault.TooLarge
	// ErrUnavailable: the engine was unreachable, or did not answer. The request may have taken effect.
	ErrUnavailable = fault.Unavailable
	// ErrDenied: the engine refuses the client, whose credentials or permissions are insufficient.
	ErrDenied = fault.Denied
	// ErrClosed: the store was closed.
	ErrClosed = fault.Closed
	// ErrCompacted: the start position of a watch is gone. The portable type then starts with a snapshot. Users never see this error.
	ErrCompacted = errors.New("compacted")
)

// Version identifies one state of one key. It is opaque: compare versions for equality only. Zero is no version.
type Version uint64

// Item is a key with its value.
type Item struct {
	// Key of the item.
	Key string
	// Value is never nil in an item that exists, but may be empty.
	Value []byte
	// Version changes with every write of the key.
	Version Version
	// TTL is the time left, if the engine reports it. Zero means no TTL, or unknown.
	TTL time.Duration
}

// Driver is the interface that every engine implements.
type Driver interface {
	// Capabilities returns values that are constant for the life of the driver. It sends no request.
	Capabilities() Capabilities
	// Get returns the item at key, or ErrNotFound.
	Get(ctx context.Context, key string) (Item, error)
	// Put writes an item and returns its new version, or ErrConflict.
	Put(ctx context.Context, req PutRequest) (Version, error)
	// Delete removes an item, or returns ErrConflict. Without a condition, a missing key is not an error.
	Delete(ctx context.Context, req DeleteRequest) error
	// Close frees the resources of the driver. It is called once, possibly during other calls. Those end with ErrClosed or with their own
	// result. A client that was passed to the driver stays open.
	Close() error
}

// PutRequest is one write.
type PutRequest struct {
	// Key to write.
	Key string
	// Value to write; nil is the empty value.
	Value []byte
	// TTL is the lifetime of the item. Zero means no TTL, and removes an existing one.
	TTL time.Duration
	// Lease is the lease that the item ends with. Empty means none. A request never has both a lease and a TTL.
	Lease LeaseID
	// IfAbsent makes the write conditional: the key must not exist.
	IfAbsent bool
	// IfVersion makes the write conditional: the item must exist and have this version. Zero means no such condition.
	IfVersion Version
}

// DeleteRequest is one deletion.
type DeleteRequest struct {
	// Key to delete.
	Key string
	// IfVersion makes the deletion conditional: the item must exist and have this version. Zero means no such condition.
	IfVersion Version
}
