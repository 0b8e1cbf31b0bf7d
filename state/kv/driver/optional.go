package driver

import (
	"context"
	"time"
)

// Lister is the interface of the ability List.
type Lister interface {
	// List returns one page of items, in the order of their keys' bytes.
	List(ctx context.Context, req ListRequest) (Page, error)
}

// ListRequest is the request for one page.
type ListRequest struct {
	// Prefix of the keys. Empty means all.
	Prefix string
	// Limit is the maximum number of items in the page, above zero.
	Limit int
	// Next is Page.Next of the previous page, or nil for the first page.
	Next any
}

// Page is a part of a listing.
type Page struct {
	// Items in the order of their keys' bytes.
	Items []Item
	// Next is for the request of the following page. It holds nothing that must be freed, since a caller may stop at any page. Nil means
	// that this page is the last.
	Next any
}

// Watcher is the interface of the ability Watch.
type Watcher interface {
	// Watch calls emit with each event, in order, from one goroutine. It blocks until emit returns an error or the context ends, and
	// returns that error. It returns ErrCompacted if the position is gone, and any other error if the connection is lost.
	Watch(ctx context.Context, req WatchRequest, emit func(Event) error) error
}

// WatchRequest describes a watch.
//
// With Snapshot, a watch starts with EventResync, an EventPut for each existing item, and EventSynced. The changes that follow have no
// gap and repeat none of the items. Without it, a watch starts with EventSynced as soon as it is established. It then shows the changes
// after From, or from now on if From is zero.
type WatchRequest struct {
	// Key to watch. If it is empty, Prefix applies.
	Key string
	// Prefix of the keys to watch. Empty means all.
	Prefix string
	// From is the Position of an event, or the version of an item, after which to start. Zero means now.
	From Version
	// Snapshot starts the watch with the existing items. From is then zero.
	Snapshot bool
}

// EventKind is the kind of an event.
type EventKind uint8

// The kinds of events.
const (
	// EventPut: the item was written, or exists.
	EventPut EventKind = iota + 1
	// EventDelete: the item was deleted, or has expired.
	EventDelete
	// EventResync: the state known so far may be wrong. All existing items follow as EventPut, up to EventSynced.
	EventResync
	// EventSynced: the watch is established, and no change will be missed. Items that were not shown since the last EventResync do not
	// exist.
	EventSynced
	// EventLost: the connection is lost, and the state known so far may be stale until EventSynced. Only the portable type emits it.
	EventLost
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case EventPut:
		return "put"
	case EventDelete:
		return "delete"
	case EventResync:
		return "resync"
	case EventSynced:
		return "synced"
	case EventLost:
		return "lost"
	default:
		return "unknown"
	}
}

// Event is a report of a watch.
type Event struct {
	// Kind of the event.
	Kind EventKind
	// Item that was written. After a deletion it has only the key.
	Item Item
	// Position is the position after this event, for WatchRequest.From. Zero means that a watch cannot start here. The items of a
	// snapshot have none: EventSynced has the position after them.
	Position Version
}

// Batcher is the interface of the ability Batch. Requests hold at most MaxBatch items. There is one result for each item, in the order of
// the request. If one item fails, the others still take effect.
type Batcher interface {
	// GetMany reads items.
	GetMany(ctx context.Context, keys []string) ([]Result, error)
	// PutMany writes items. The Item of a Result has only the version.
	PutMany(ctx context.Context, reqs []PutRequest) ([]Result, error)
}

// Result is the outcome of one item of a batch.
type Result struct {
	// Item that was read or written.
	Item Item
	// Err is what Get or Put would have returned.
	Err error
}

// LeaseID identifies a lease.
type LeaseID string

// Leaser is the interface of the ability Leases. Items that are written with a lease disappear when it ends.
type Leaser interface {
	// Grant creates a lease that ends after ttl unless it is renewed.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// Renew extends the lease to its whole TTL from now, or returns ErrNotFound if it has ended.
	Renew(ctx context.Context, id LeaseID) error
	// Revoke ends the lease and deletes its items. A lease that has already ended is not an error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Validator is for drivers whose constructors return no error although their arguments may be invalid.
type Validator interface {
	// Validate returns ErrInvalid, with the reason, if the driver was created with invalid arguments. The portable type then returns this
	// error from every call, and calls no other method of the driver except Capabilities and Close.
	Validate() error
}

// Pinger is for engines with a better health check than a Get of one key.
type Pinger interface {
	// Ping returns nil if the engine answers.
	Ping(ctx context.Context) error
}
